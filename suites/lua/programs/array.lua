-- Fills an array of 65536 numbers, again and again, and reads some of them in a random order.
local sum, first = 0, seed & 0xffffffff
for _ = 1, size do
  local cells = {}
  for i = 1, 1 << 16 do
    cells[i] = i
  end
  local at = first
  for _ = 1, 1 << 12 do
    at = (at * 1664525 + 1013904223) & 0xffffffff
    sum = sum ~ cells[(at >> 16) + 1] * at
  end
end
print(sum)
