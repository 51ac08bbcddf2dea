-- Removes the entries of dead processes from several users' index values.
-- A process whose lease stands on this shard at this moment keeps its entries:
-- a process that comes back renews its lease before it looks at its users, so
-- between the two nothing it owns can get lost.
--
-- With 'tell' a user whom nobody else has keeps a mark, "<process>=!<time>", until
-- a call without it: so whoever removes entries can tell of those users first, and
-- when it dies meanwhile the next one finds them. So does a process that has not told
-- yet that its user has gone (put.lua). Such a mark holds nothing, and who comes then
-- comes anew.
--
-- KEYS[1..n]  leases of the processes, n = ARGV[1]
-- KEYS[n+i]   index key of user i; with 'tell', the last key is no user's, but the
--             clock of moves (put.lua)
-- ARGV[1]     number of processes
-- ARGV[1+j]   id of process j, whose lease is KEYS[j]
-- ARGV[n+2]   'tell', or left out
-- Returns the number of entries removed. With 'tell': that, and for each user to
-- tell of its place i, the dead process, the time of the mark in microseconds,
-- what it is: 'gone'; 'again', when an earlier call has marked it; 'back', when one
-- has and somebody has the user now; and when it came, if others may not have heard
-- of that, else ''.
--
-- It goes through at a Redis that takes no more writes for want of memory: that
-- lets a script go on that has begun to write. Entries have no expiry, so
-- PERSIST changes nothing.
local n, dead, removed = tonumber(ARGV[1]), {}, 0
local tells, told, users = ARGV[n + 2] == 'tell', {}, #KEYS
if tells then
  users = #KEYS - 1
end
for j = 1, n do
  if redis.call('EXISTS', KEYS[j]) == 0 then
    dead[ARGV[1 + j]] = true
  end
end

-- without returns old without the entries of the dead, how many those were, and
-- the first of them: its process and, if it is a mark, its time. held says that
-- somebody has the user still.
local function without(old)
  local kept, from, n, pid, marked, held = {}, 1, 0, nil, nil, false
  while from <= #old do
    local stop = string.find(old, ' ', from, true) or #old + 1
    local eq = string.find(old, '=', from, true) or stop
    local of = string.sub(old, from, math.min(eq, stop) - 1)
    local isMark = string.sub(old, eq + 1, eq + 1) == '!' and eq < stop
    if dead[of] then
      n = n + 1
      pid = pid or of
      if isMark and not marked then
        pid, marked = of, string.sub(old, eq + 2, stop - 1)
      end
    elseif stop > from and not string.find(string.sub(old, from, from), '[+?]') then
      kept[#kept + 1] = string.sub(old, from, stop - 1)
      held = held or not isMark
    end
    from = stop + 1
  end
  local since = string.match(' ' .. old, ' [+?]%d+') -- when the user came, see put.lua
  if held and since then
    kept[#kept + 1] = string.sub(since, 2)
  end
  return table.concat(kept, ' '), n, pid, marked, held
end

redis.call('PERSIST', KEYS[users])

local now = nil -- of all marks of this call; put.lua says how times are made
local function time()
  if not now then
    local t, last = redis.call('TIME'), tonumber(redis.call('GET', KEYS[#KEYS]) or '0')
    local us, ahead = t[1] * 1000000 + t[2], 600 * 1000000
    if last and us <= last and last - us < ahead then
      us = last + 1
    end
    now = string.format('%.0f', us)
    redis.call('SET', KEYS[#KEYS], now)
  end
  return now
end

-- note has user i told of, and returns its value with the mark.
local function note(i, new, pid, marked, held, unheard)
  if held then
    if marked then
      told[#told + 1] = {i, pid, marked, 'back', ''}
    end
    return new
  end
  told[#told + 1] = {i, pid, marked or time(), marked and 'again' or 'gone', unheard or ''}
  removed = removed - 1
  return (new == '' and '' or new .. ' ') .. pid .. '=!' .. (marked or now) .. (unheard and ' ?' .. unheard or '')
end

for i = n + 1, users do
  local old = redis.call('GET', KEYS[i])
  if old then
    local new, gone, pid, marked, held = without(old)
    removed = removed + gone
    if tells and gone > 0 then
      new = note(i - n, new, pid, marked, held, string.match(' ' .. old, ' %?(%d+)'))
    end
    if new == '' then
      redis.call('DEL', KEYS[i])
    elseif gone > 0 then
      redis.call('SET', KEYS[i], new)
    end
  end
end
if tells then
  return {removed, told}
end
return removed
