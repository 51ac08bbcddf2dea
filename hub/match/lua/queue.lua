-- Stands before every script of a queue: its keys, its tickets, and how a ticket
-- ends or goes back.
--
-- KEYS[1]   book      hash  what is counted: created, each way to end, the players
--                           and bytes of live tickets, the fence of the lease, and
--                           the bytes of the matches that are remembered
-- KEYS[2]   tickets   hash  live tickets by id, as "<since> <until> <beat>
--                           <rating>\n<players>\n<JSON>": they wait since and expire
--                           at a Unix time in milliseconds; beat is how long their
--                           owner may be silent, 0 for ever
-- KEYS[3]   waiting   zset  live tickets that nobody has claimed, by since
-- KEYS[4]   players   hash  the live ticket of each player
-- KEYS[5]   due       zset  waiting tickets by when they end if nobody is heard of
-- KEYS[6]   claimed   hash  the match of each claimed ticket; with " x" behind it
--                           once somebody wants to cancel the ticket
-- KEYS[7]   claims    zset  matches in the making by when to look after them
-- KEYS[8]   ended     hash  how tickets ended that are remembered: "<how> <match>"
-- KEYS[9]   endings   zset  those tickets, by when they ended
-- KEYS[10]  recent    zset  waits of the last matches: "<wait> <rating> <ticket>",
--                           by when they ended
-- KEYS[11]  lacking   hash  rooms that lack players: "<epoch> <lapses> <since>\n<JSON>"
-- KEYS[12]  filling   hash  the match by which such a room is being filled
-- KEYS[13]  done      zset  matches that are remembered: "<match> <bytes>", by when
--                           they ended
-- KEYS[14]  lease     string  which process makes the queue's matches
-- KEYS[15]  matches   prefix of the keys of matches. One is a hash: phase, plan,
--                     tickets, n (players), offer, yes (players who accepted),
--                     y:<player>, found, room (that it fills)
--
-- A match is c while its room is being opened, a while its players are asked to
-- accept, r when the room is recorded and players are being told, and d when they
-- were told.
local book, tickets, waiting, players, due = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local claimed, claims, ended, endings, recent = KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10]
local lacking, filling, done, lease, matches = KEYS[11], KEYS[12], KEYS[13], KEYS[14], KEYS[15]

local kept_ms, kept, kept_bytes, recents = 600000, 65536, 67108864, 2000

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local function int(n) return string.format('%.0f', n) end

-- begin changes nothing: a full Redis lets a script go on that has begun to write.
local function begin() redis.call('HDEL', book, '-') end

-- handled is how many players' tickets this call has ended or given back; those that
-- go through many stop at handled_most, so that others need not wait for long.
local handled, handled_most = 0, 200

-- told are the tickets that this call ended other than by a match: id, how and
-- players, one after the other.
local told = {}

local function read(id)
  local text = redis.call('HGET', tickets, id)
  if not text then
    return nil
  end
  local since, till, beat, rating, who = string.match(text, '^(%d+) (%d+) (%d+) (%S+)\n([^\n]*)\n')
  return {
    id = id, since = tonumber(since), till = tonumber(till), beat = tonumber(beat),
    rating = rating, players = who, size = #id + #text,
  }
end

-- match_of returns the match that has claimed a ticket, and whether somebody wants
-- to cancel the ticket.
local function match_of(id)
  local of = redis.call('HGET', claimed, id)
  if not of then
    return nil
  end
  return string.match(of, '^%S+'), string.sub(of, -2) == ' x'
end

local function due_of(t)
  if t.beat == 0 then
    return t.till
  end
  return math.min(t.till, now + t.beat)
end

-- forget gives up what was remembered of the oldest tickets, so many at most.
local function forget(most)
  local over = redis.call('ZCARD', endings) - kept
  local oldest = redis.call('ZRANGE', endings, 0, most - 1, 'WITHSCORES')
  for i = 1, #oldest, 2 do
    if i / 2 < over or tonumber(oldest[i + 1]) < now - kept_ms then
      redis.call('ZREM', endings, oldest[i])
      redis.call('HDEL', ended, oldest[i])
    end
  end
end

-- conclude ends a ticket, whatever it was doing.
local function conclude(t, how, match)
  redis.call('ZREM', waiting, t.id)
  redis.call('ZREM', due, t.id)
  redis.call('HDEL', claimed, t.id)
  redis.call('HDEL', tickets, t.id)
  local n = 0
  for player in string.gmatch(t.players, '%S+') do
    redis.call('HDEL', players, player)
    n = n + 1
  end
  handled = handled + n
  redis.call('HINCRBY', book, how, 1)
  redis.call('HINCRBY', book, 'players', -n)
  redis.call('HINCRBY', book, 'bytes', -t.size)
  redis.call('HSET', ended, t.id, how .. ' ' .. match)
  redis.call('ZADD', endings, now, t.id)
  redis.call('PEXPIRE', ended, kept_ms)
  redis.call('PEXPIRE', endings, kept_ms)
  forget(2)
  if how ~= 'matched' then
    told[#told + 1] = t.id
    told[#told + 1] = how
    told[#told + 1] = t.players
  end
end

-- give_back has a claimed ticket wait again, with its age, or end if somebody has
-- wanted that meanwhile.
local function give_back(t, wished)
  redis.call('HDEL', claimed, t.id)
  if wished then
    conclude(t, 'cancelled', '')
    return
  end
  redis.call('ZADD', waiting, t.since, t.id)
  redis.call('ZADD', due, due_of(t), t.id)
  handled = handled + 1
end

local function unfill(match, room)
  if room and redis.call('HGET', filling, room) == match then
    redis.call('HDEL', filling, room)
  end
end

-- dissolve gives back all tickets of a match that does not come about, and returns
-- how many there were.
local function dissolve(match)
  redis.call('ZREM', claims, match)
  local m, n = redis.call('HMGET', matches .. match, 'tickets', 'room'), 0
  unfill(match, m[2])
  for id in string.gmatch(m[1] or '', '%S+') do
    local of, wished = match_of(id)
    local t = of == match and read(id)
    if t then
      give_back(t, wished)
      n = n + 1
    end
  end
  redis.call('DEL', matches .. match)
  return n
end
