-- Joins words to a text, takes it apart again, and counts them.
local state, words = seed % 2147483648, {}
for i = 1, size do
  state = (state * 1103515245 + 12345) % 2147483648
  words[i] = string.format("w%x", state % 997)
end
local text, count = table.concat(words, " "), {}
for word in text:gmatch("%w+") do
  count[word] = (count[word] or 0) + 1
end
local names = {}
for name in pairs(count) do
  names[#names + 1] = name
end
table.sort(names)
local digest = 0
for _, name in ipairs(names) do
  digest = (digest * 31 + count[name] * #name) % 1000000007
end
print(#names, digest, (select(2, text:gsub("w1", "one"))))
