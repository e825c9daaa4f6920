-- Lua at work: tables of tables, closures and strings, built and dropped. Prints a sum.
local state, sum = 42, 0
local function below(n)
    state = (state * 1103515245 + 12345) % 2147483648
    return (state // 65536) % n
end
for turn = 1, tonumber(arg[1]) do
    local objects, words = {}, {}
    for i = 1, 60000 do
        local name = "object" .. below(20000) .. string.rep("y", below(20))
        local o = { id = i, name = name, children = {} }
        o.weight = function() return o.id + #o.children end
        local parent = objects[1 + below(i)]
        if parent then parent.children[#parent.children + 1] = o end
        objects[i] = o
        words[#words + 1] = name:upper()
    end
    local text = table.concat(words, " ")
    for word in text:gmatch("%S+") do sum = (sum + #word) % 1000000007 end
    for _, o in ipairs(objects) do sum = (sum * 31 + o.weight()) % 1000000007 end
end
print(sum)
