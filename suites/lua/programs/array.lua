-- Reads and writes an array of two million numbers in a random order: waits for memory.
local cells = {}
for i = 1, 1 << 21 do
  cells[i] = i
end
local at, sum = 1, 0
for _ = 1, size do
  at = (at * 1664525 + 1013904223) & 0xffffffff
  local cell = (at >> 11) + 1
  sum = sum ~ cells[cell]
  cells[cell] = sum & 0xffff
end
print(sum)
