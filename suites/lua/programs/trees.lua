-- Builds binary trees and walks through them: allocation and garbage collection.
local leaf = seed % 1000
local function tree(depth)
  if depth == 0 then return {} end
  return { tree(depth - 1), tree(depth - 1) }
end
local function nodes(node)
  if not node[1] then return leaf end
  return 1 + nodes(node[1]) + nodes(node[2])
end
local sum = 0
for _ = 1, size do
  sum = sum + nodes(tree(12))
end
print(sum)
