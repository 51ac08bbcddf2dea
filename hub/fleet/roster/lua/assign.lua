-- Gives players a place at a node, for several requests, one after the other. What is
-- known of nodes and clusters is read once for all of them.
--
-- ARGV[1]  how long places are kept, in milliseconds
-- ARGV[2]  how long assignments are remembered
-- ARGV[3]  how many players may be on their way to one node
-- ARGV[4]  a mark of the key for tickets that the caller knows
-- ARGV[5]  a key to be used if there is none
-- ARGV[6]  how many versions get a share of the players, v
-- ARGV[6+1..6+v] those: only requests that name one of them go there
-- then of each request:
--   1  its id
--   2  a mark of the request: another one under the same id is refused
--   3  the cluster
--   4  how many players, who all come to one node
--   5  "spread" or "pack"
--   6  how full a node may get, as a part of what it carries
--   7  the region that is preferred; empty: any
--   8  the version; empty: any but those that get a share
--   9  '1' when another version will do if none of that one has room
-- Returns the key or '', and of each request: "ok", the node, its endpoint, until when
-- the places are kept, and '1' if they are new; "other" when the id is another
-- request's; or "none", how many nodes of the cluster take players, and how many of
-- those pack could not use because nobody has said what they carry.
local fields = 9
local kept_for, on_their_way, shares = tonumber(ARGV[1]), tonumber(ARGV[3]), tonumber(ARGV[6])
redis.call('ZREM', prefix .. 'g:', '-') -- a full Redis lets a script go on that has begun to write

local others = {}
for i = 7, 6 + shares do
  others[ARGV[i]] = true
end

-- look returns what is known of a node that takes players: its endpoint, what it
-- carries, how many it has, and how many are on their way. false: it takes none.
local nodes = {}
local function look(id)
  local n = nodes[id]
  if n == nil then
    local f = redis.call('HMGET', node_key(id), 'endpoint', 'cap', 'conns', 'good', 'ready')
    n = f[1] and f[5] == '' and tonumber(f[4] or '0') >= now
      and {endpoint = f[1], carries = tonumber(f[2]), conns = tonumber(f[3]), reserved = redis.call('ZCARD', reserved_key(id))}
    nodes[id] = n
  end
  return n
end

-- groups_of returns the groups of a cluster, by name.
local clusters = {}
local function groups_of(cluster)
  local groups = clusters[cluster]
  if not groups then
    groups = {}
    local names = redis.call('SMEMBERS', prefix .. 'gs:' .. cluster)
    table.sort(names)
    for i, name in ipairs(names) do
      local region, version = string.match(name, '^([^|]*)|(.*)$')
      groups[i] = {name = name, key = group_key(cluster, name), region = region, version = version}
    end
    clusters[cluster] = groups
  end
  return groups
end

-- room reports whether a node has room for the players of q.
local function room(q, n)
  if n.reserved + q.players > on_their_way then
    return false
  elseif n.carries == 0 then
    q.without = q.without + 1
    return not q.pack
  end
  return n.conns + n.reserved + q.players <= math.floor(n.carries * q.mark)
end

-- best returns the node of a group to be taken first, and its load. It is the first, as
-- a rule, so more than two are read only when it is not. A group that had no room is not
-- read again for as many players.
local full = {}
local function best(q, key)
  local at, most, memo = 0, 2, key .. (q.pack and q.mark_text or '')
  local was, without = full[memo], q.without
  if was and q.players >= was.players then
    q.without = without + was.without
    return nil
  end
  while true do
    local page
    if q.pack then
      page = redis.call('ZRANGE', key, '(' .. q.mark_text, '-inf', 'BYSCORE', 'REV', 'LIMIT', at, most, 'WITHSCORES')
    else
      page = redis.call('ZRANGE', key, '-inf', '(1', 'BYSCORE', 'LIMIT', at, most, 'WITHSCORES')
    end
    at = at + most
    for i = 1, #page, 2 do
      local n = look(page[i])
      if not n then
        redis.call('ZREM', key, page[i]) -- its next report brings it back
        at = at - 1
      elseif room(q, n) then
        return page[i], tonumber(page[i + 1])
      end
    end
    if #page < 2 * most then
      full[memo] = {players = q.players, without = q.without - without}
      return nil
    end
    most = 16
  end
end

-- choose takes the best node of all groups that are right, and near if that is asked.
local function choose(q, right, near)
  local node, load, of
  for _, g in ipairs(groups_of(q.cluster)) do
    if right(q, g.version) and (not near or g.region == q.region) then
      local n, l = best(q, g.key)
      if n and (not node or q.pack and l > load or not q.pack and l < load) then
        node, load, of = n, l, g
      end
    end
  end
  return node, of
end

local function of_version(q, version) return q.version == '' and not others[version] or q.version ~= '' and version == q.version end
local function of_no_share(q, version) return not others[version] and version ~= q.version end

-- find returns the node for q, and its group: of the version and near, if there is one.
local function find(q)
  for pass = 1, q.or_other and 2 or 1 do
    local right = pass == 1 and of_version or of_no_share
    if q.region ~= '' then
      local without = q.without
      local node, group = choose(q, right, true)
      if node then
        return node, group
      end
      q.without = without -- those are among the ones that are looked at now
    end
    local node, group = choose(q, right, false)
    if node then
      return node, group
    end
  end
  return nil
end

-- none is what there is when no node has room.
local function none(q)
  local takers = 0
  for _, g in ipairs(groups_of(q.cluster)) do
    local n = redis.call('ZCARD', g.key)
    takers = takers + n
    if n == 0 then
      redis.call('SREM', prefix .. 'gs:' .. q.cluster, g.name)
    end
  end
  return {'none', takers, q.pack and q.without or 0}
end

-- again returns the answer that q had before; nil: it had none that still holds. Its
-- places are given up then.
local function again(q)
  local record = redis.call('GET', prefix .. 'a:' .. q.id)
  if not record then
    return nil
  end
  local id, was, lapses, fingerprint, state = string.match(record, '^(.*)\n(%d+) (%d+) (%S+)(.*)$')
  if fingerprint ~= q.fingerprint then
    return {'other'}
  end
  local n = look(id)
  if n and (state == ' came' or tonumber(lapses) > now) then
    return {'ok', id, n.endpoint, lapses, '0'}
  end
  full = {}
  for player = 1, tonumber(was) do
    local removed = redis.call('ZREM', reserved_key(id), q.id .. ':' .. player)
    if n then
      n.reserved = n.reserved - removed
    end
  end
  return nil
end

local lapses = int(now + kept_for)

local function assign(q)
  local answer = again(q)
  if answer then
    return answer
  end
  local id, group = find(q)
  if not id then
    return none(q)
  end
  local n, places = nodes[id], {}
  for player = 1, q.players do
    places[2 * player - 1], places[2 * player] = lapses, q.id .. ':' .. player
  end
  redis.call('ZADD', reserved_key(id), unpack(places))
  if n.reserved == 0 then
    redis.call('PEXPIRE', reserved_key(id), kept) -- reports prolong it
  end
  n.reserved = n.reserved + q.players
  redis.call('SET', prefix .. 'a:' .. q.id, id .. '\n' .. q.players .. ' ' .. lapses .. ' ' .. q.fingerprint, 'PX', ARGV[2])
  redis.call('ZINCRBY', group.key, string.format('%.17g', q.players / (n.carries == 0 and 1000000 or n.carries)), id)
  return {'ok', id, n.endpoint, lapses, '1'}
end

local answers, ok = {''}, false
for i = 7 + shares, #ARGV, fields do
  local answer = assign({
    id = ARGV[i], fingerprint = ARGV[i + 1], cluster = ARGV[i + 2], players = tonumber(ARGV[i + 3]), pack = ARGV[i + 4] == 'pack',
    mark = tonumber(ARGV[i + 5]), mark_text = ARGV[i + 5], region = ARGV[i + 6], version = ARGV[i + 7], or_other = ARGV[i + 8] == '1', without = 0,
  })
  answers[#answers + 1], ok = answer, ok or answer[1] == 'ok'
end
if ok then
  local key = redis.call('GET', prefix .. 'key')
  if not key then
    key = ARGV[5]
    redis.call('SET', prefix .. 'key', key)
  end
  if string.sub(redis.sha1hex(key), 1, 8) ~= ARGV[4] then
    answers[1] = key
  end
end
return answers
