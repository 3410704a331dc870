-- Multiplies two square matrices of floating-point numbers.
local first = seed % 7
local function matrix(step)
  local rows = {}
  for i = 1, size do
    local row = {}
    for j = 1, size do
      row[j] = (i * step + j + first) % 7 + 0.5
    end
    rows[i] = row
  end
  return rows
end
local a, b, sum = matrix(3), matrix(5), 0.0
for i = 1, size do
  local row = a[i]
  for j = 1, size do
    local product = 0.0
    for k = 1, size do
      product = product + row[k] * b[k][j]
    end
    sum = sum + product
  end
end
print(string.format("%.1f", sum))
