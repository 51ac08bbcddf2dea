-- Sets what one process holds of several users: its entry in each user's
-- index value is replaced whole, whatever other processes wrote stays as it is.
-- Running it twice changes nothing more.
--
-- KEYS[i]    index key of user i; no key twice
-- ARGV[1]    the process's id
-- ARGV[i+1]  what it holds of user i ("svc*n,svc*n"); '' removes the entry
-- Returns the number of values that were changed.
--
-- When it only removes it goes through at a Redis that takes no more writes for
-- want of memory: that lets a script go on that has begun to write. Entries have
-- no expiry, so PERSIST changes nothing.
local own = ARGV[1] .. '='
local removes = true
for i = 2, #ARGV do
  removes = removes and ARGV[i] == ''
end
if removes then
  redis.call('PERSIST', KEYS[1])
end
local values = redis.call('MGET', unpack(KEYS))
local sets, gone = {}, {}
for i, key in ipairs(KEYS) do
  local old = values[i] or ''
  local kept, holds = {}, ARGV[i + 1]
  for entry in string.gmatch(old, '[^ ]+') do
    if string.sub(entry, 1, #own) ~= own then
      kept[#kept + 1] = entry
    elseif holds ~= '' then
      kept[#kept + 1] = own .. holds
      holds = ''
    end
  end
  if holds ~= '' then
    kept[#kept + 1] = own .. holds
  end
  local new = table.concat(kept, ' ')
  if new == old then
    -- as it should be
  elseif new == '' then
    gone[#gone + 1] = key
  else
    sets[#sets + 1] = key
    sets[#sets + 1] = new
  end
end
if #sets > 0 then
  redis.call('MSET', unpack(sets))
end
if #gone > 0 then
  redis.call('DEL', unpack(gone))
end
return #sets / 2 + #gone
