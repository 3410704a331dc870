-- Calls functions that take any number of arguments and hand them on.
local function add(...)
  local sum = 0
  for i = 1, select("#", ...) do
    sum = sum + (select(i, ...))
  end
  return sum
end
local function forward(...)
  return add(...)
end
local sum, first = 0, seed % 1000
for i = 1, size do
  sum = sum + forward(i, 2, first, i)
end
print(sum)
