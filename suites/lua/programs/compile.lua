-- Compiles a program of 300 functions, again and again.
local parts, first = { "local functions = {}" }, seed % 1000
for i = 1, 300 do
  parts[#parts + 1] = string.format([[
    functions[%d] = function(a, b)
      if a > %d then return { a, b, name = "f%d" } end
      return a * b + %d
    end]], i, i, i, first + i)
end
parts[#parts + 1] = "return functions"
local source = table.concat(parts, "\n")
local sum = 0
for _ = 1, size do
  local functions = assert(load(source))()
  sum = sum + #functions + functions[7](3, 4)
end
print(sum)
