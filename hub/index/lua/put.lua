-- Sets what one process holds of several users: its entry in each user's
-- index value is replaced whole, whatever other processes wrote stays as it is.
-- Running it twice changes nothing more.
--
-- KEYS[i]    index key of user i; no key twice
-- KEYS[n+1]  only when moves are told: the clock of this server's moves
-- ARGV[1]    the process's id
-- ARGV[i+1]  what it holds of user i ("svc*n,svc*n"); '' removes the entry; '~' holds
--            nothing, and keeps the user's place for a moment; '!' removes the entry,
--            and leaves a mark, "!<time>", when nobody else has the user: that it has
--            gone is yet to be told, and until then a sweep finds it
-- ARGV[n+2]  only when moves are told: a letter for each user: 't'; 'd' when the outcome
--            of an earlier write is not known, so that the user may have come by that;
--            'u' when no write of the user is known to have succeeded, so that it may
--            never have come; 'h' when others have heard that the user came; '-' when nothing is told
-- ARGV[n+3]  'moves', or left out: no moves are told
-- Returns the number of values that were changed. When moves are told: that; the
-- places of the users who came (nobody had them, now somebody has), and when each did,
-- in microseconds; and the same of those who went (nobody has them now). Of one move
-- every call tells the same time.
--
-- When a user came stands in its value while somebody has it: as "?<time>" until
-- others have heard of it, and then beside the mark that it has gone, too; as "+<time>"
-- from then on. The process that is to tell of it may
-- die before it does, so the next one that the user comes to meanwhile tells as well.
-- Times grow from move to move, whatever the server's clock says: the clock stands
-- under KEYS[n+1], so that another master goes on with it.
--
-- When it only removes it goes through at a Redis that takes no more writes for
-- want of memory: that lets a script go on that has begun to write. Entries have
-- no expiry, so PERSIST changes nothing.
local tells, n = nil, #KEYS
if ARGV[#KEYS + 2] == 'moves' then
  n = #KEYS - 1
  tells = ARGV[n + 2]
end
local mark = ' ' .. ARGV[1] .. '='
local removes = true
for i = 2, n + 1 do
  removes = removes and (ARGV[i] == '' or ARGV[i] == '~' or ARGV[i] == '!')
end
if removes then
  redis.call('PERSIST', KEYS[1])
end

-- replace returns old with the process's entry made entry, which has a space in
-- front, or is empty, and what the process held before, nil for nothing. Only that
-- entry is looked at: a user's value may be long.
local function replace(old, entry)
  if old == '' then
    return string.sub(entry, 2), nil
  end
  local rest, out, from, held = ' ' .. old, {}, 1, nil
  local at = string.find(rest, mark, 1, true)
  if not at then
    return old .. entry, nil
  end
  while at do
    out[#out + 1] = string.sub(rest, from, at - 1)
    out[#out + 1] = entry
    entry = '' -- a second one goes
    from = string.find(rest, ' ', at + 1, true) or #rest + 1
    held = held or string.sub(rest, at + #mark, from - 1)
    at = string.find(rest, mark, from, true)
  end
  out[#out + 1] = string.sub(rest, from)
  return string.sub(table.concat(out), 2), held
end

-- nobody reports whether value has no entry but of processes that are telling, or
-- whose sweeper is (sweep.lua), that the user has gone.
local function nobody(value)
  if value == '' then
    return true
  end
  for entry in string.gmatch(value, '[^ ]+') do
    if not string.find(entry, '=!', 1, true) and not string.find(entry, '^[+?]') then
      return false
    end
  end
  return true
end

-- since is when the user came that value names, as text; nil: that is not known.
local function since(value) return string.match(' ' .. value, ' [+?](%d+)') end

-- unsince returns value without that.
local function unsince(value)
  local rest = string.gsub(' ' .. value, ' [+?]%d+', '')
  return string.sub(rest, 2)
end

local values = redis.call('MGET', unpack(KEYS))
local now = nil -- of all moves of this call
local function time()
  if not now then
    local t, last = redis.call('TIME'), tonumber(values[n + 1] or '0')
    local us, ahead = t[1] * 1000000 + t[2], 600 * 1000000
    if last and us <= last and last - us < ahead then
      us = last + 1 -- the clock of the master before was ahead
    end
    now = string.format('%.0f', us)
  end
  return now
end

local came, cameAt, went, wentAt = {}, {}, {}, {}

-- goes returns the value that is left of a user whom the process does not have any
-- more, and notes that it went.
local function goes(i, old, rest, held)
  local unsure = string.sub(tells, i, i) == 'u'
  if not nobody(rest) or unsure and not held then
    return rest
  end
  if unsure then -- it had come, and nobody was told
    came[#came + 1], cameAt[#cameAt + 1] = i, since(old) or time()
  end
  local at = held and string.match(held, '^!(%d+)$') or time()
  went[#went + 1], wentAt[#wentAt + 1] = i, at
  local others, unheard = unsince(rest), string.match(' ' .. rest, ' %?%d+') or ''
  return (others == '' and '' or others .. ' ') .. string.sub(mark, 2) .. '!' .. at .. unheard
end

-- comes returns new with the time when its user came, and notes that it came if that is
-- to be told.
local function comes(i, old, new, held)
  local how, at = string.sub(tells, i, i), nil
  if not nobody(old) then
    at = since(old)
  end
  local unheard = held == nil and string.find(' ' .. old, ' ?', 1, true)
  if nobody(old) or how == 'd' or how == 'u' or unheard then
    at = at or time()
    came[#came + 1], cameAt[#cameAt + 1] = i, at
    return unsince(new) .. ' ?' .. at
  elseif how == 'h' and at then
    return unsince(new) .. ' +' .. at
  end
  return new
end

-- told returns what becomes of a user of whom moves are told.
local function told(i, old, holds)
  if holds == '!' then
    return goes(i, old, replace(old, ''))
  end
  local new, held = replace(old, mark .. holds)
  return comes(i, old, new, held)
end

-- plain returns what becomes of a user of whom none are.
local function plain(old, holds)
  local new = replace(old, (holds == '' or holds == '!') and '' or mark .. holds)
  if new ~= '' and holds == '' and nobody(new) then
    return unsince(new)
  end
  return new
end

local sets, gone = {}, {}
for i = 1, n do
  local old, holds = values[i] or '', ARGV[i + 1]
  local new
  if tells and holds ~= '' and string.sub(tells, i, i) ~= '-' then
    new = told(i, old, holds)
  else
    new = plain(old, holds)
  end
  if new == old then
    -- as it should be
  elseif new == '' then
    gone[#gone + 1] = KEYS[i]
  else
    sets[#sets + 1] = KEYS[i]
    sets[#sets + 1] = new
  end
end
local changed = #sets / 2 + #gone
if now then
  sets[#sets + 1] = KEYS[n + 1]
  sets[#sets + 1] = now
end
if #sets > 0 then
  redis.call('MSET', unpack(sets))
end
if #gone > 0 then
  redis.call('DEL', unpack(gone))
end
if not tells then
  return changed
end
return {changed, came, cameAt, went, wentAt}
