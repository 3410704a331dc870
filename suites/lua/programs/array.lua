-- Fills an array of a million numbers several times, and reads it in a random order: memory.
local sum = 0
for _ = 1, size do
  local cells = {}
  for i = 1, 1 << 20 do
    cells[i] = i
  end
  local at = 1
  for _ = 1, 1 << 16 do
    at = (at * 1664525 + 1013904223) & 0xffffffff
    sum = sum ~ cells[(at >> 12) + 1] * at
  end
end
print(sum)
