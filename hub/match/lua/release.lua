-- Gives up a match that has no room yet.
--
-- KEYS     as queue.lua
-- ARGV[1]  the match's id
-- Returns {tickets that go back, told}.
begin()
local id = ARGV[1]
local phase = redis.call('HGET', matches .. id, 'phase')
if phase ~= 'c' and phase ~= 'a' then
  return {0, told}
end
return {dissolve(id), told}
