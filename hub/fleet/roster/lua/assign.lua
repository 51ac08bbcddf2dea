-- Gives players a place at a node.
--
-- ARGV[1]   the assignment's id
-- ARGV[2]   a mark of the request: another one under the same id is refused
-- ARGV[3]   the cluster
-- ARGV[4]   how many players, who all come to one node
-- ARGV[5]   "spread" or "pack"
-- ARGV[6]   how full a node may get, as a part of what it carries
-- ARGV[7]   how long places are kept, in milliseconds
-- ARGV[8]   how long the assignment is remembered
-- ARGV[9]   how many players may be on their way to one node
-- ARGV[10]  a mark of the key for tickets that the caller knows
-- ARGV[11]  a key to be used if there is none
-- ARGV[12]  the region that is preferred; empty: any
-- ARGV[13]  the version; empty: any but those of ARGV[15..]
-- ARGV[14]  '1' when another version will do if none of ARGV[13] has room
-- ARGV[15..] versions that are for others
-- Returns "ok", the node, its endpoint, until when the places are kept, '1' if they are
-- new, and the key or ''; "other" when the id is another request's; or "none", how many
-- nodes of the cluster take players, and how many of those pack could not use because
-- nobody has said what they carry.
local id, cluster, players, pack = ARGV[1], ARGV[3], tonumber(ARGV[4]), ARGV[5] == 'pack'
local mark, on_their_way = tonumber(ARGV[6]), tonumber(ARGV[9])
local record_key = prefix .. 'a:' .. id
redis.call('ZREM', prefix .. 'g:', '-') -- a full Redis lets a script go on that has begun to write

local function answer(node, endpoint, lapses, new)
  local key = redis.call('GET', prefix .. 'key')
  if not key then
    key = ARGV[11]
    redis.call('SET', prefix .. 'key', key)
  end
  if string.sub(redis.sha1hex(key), 1, 8) == ARGV[10] then
    key = ''
  end
  return {'ok', node, endpoint, int(lapses), new, key}
end

-- look returns the endpoint of a node that takes players, what it carries, and how many
-- it has. nil: it takes none.
local function look(node)
  local has = redis.call('HMGET', node_key(node), 'endpoint', 'cap', 'conns', 'good', 'ready')
  if not has[1] or has[5] ~= '' or tonumber(has[4] or '0') < now then
    return nil
  end
  local reserved = redis.call('ZCARD', reserved_key(node))
  return has[1], tonumber(has[2]), tonumber(has[3]) + reserved, reserved
end

local record = redis.call('GET', record_key)
if record then
  local node, was, lapses, fingerprint, state = string.match(record, '^(.*)\n(%d+) (%d+) (%S+)(.*)$')
  if fingerprint ~= ARGV[2] then
    return {'other'}
  end
  local endpoint = look(node)
  if endpoint and (state == ' came' or tonumber(lapses) > now) then
    return answer(node, endpoint, tonumber(lapses), '0')
  end
  for player = 1, tonumber(was) do
    redis.call('ZREM', reserved_key(node), id .. ':' .. player)
  end
end

local without = 0 -- nodes of which nobody knows what they carry

-- room reports whether a node has room for the players.
local function room(carries, has, reserved)
  if reserved + players > on_their_way then
    return false
  elseif carries == 0 then
    without = without + 1
    return not pack
  end
  return has + players <= math.floor(carries * mark)
end

-- best returns the node of a group to be taken first, its load and its endpoint.
local function best(group)
  local key, at = group_key(cluster, group), 0
  while true do
    local page
    if pack then
      page = redis.call('ZRANGE', key, '(' .. ARGV[6], '-inf', 'BYSCORE', 'REV', 'LIMIT', at, 16, 'WITHSCORES')
    else
      page = redis.call('ZRANGE', key, '-inf', '(1', 'BYSCORE', 'LIMIT', at, 16, 'WITHSCORES')
    end
    for i = 1, #page, 2 do
      local endpoint, carries, has, reserved = look(page[i])
      if not endpoint then
        redis.call('ZREM', key, page[i]) -- its next report brings it back
        at = at - 1
      elseif room(carries, has, reserved) then
        return page[i], tonumber(page[i + 1]), endpoint
      end
    end
    if #page < 32 then
      return nil
    end
    at = at + 16
  end
end

-- choose takes the best node of all groups that fit.
local function choose(groups, fits)
  local node, load, endpoint, of
  for _, group in ipairs(groups) do
    if fits(string.match(group, '^([^|]*)|(.*)$')) then
      local n, l, e = best(group)
      if n and (not node or pack and l > load or not pack and l < load) then
        node, load, endpoint, of = n, l, e, group
      end
    end
  end
  return node, endpoint, of
end

local others = {}
for i = 15, #ARGV do
  others[ARGV[i]] = true
end
local function of_version(version) return ARGV[13] == '' and not others[version] or ARGV[13] ~= '' and version == ARGV[13] end
local function of_no_share(version) return ARGV[14] == '1' and not others[version] and version ~= ARGV[13] end

local groups = redis.call('SMEMBERS', prefix .. 'gs:' .. cluster)
table.sort(groups)
local node, endpoint, group
for _, right in ipairs({of_version, of_no_share}) do
  for _, near in ipairs({true, false}) do
    if not node and (not near or ARGV[12] ~= '') then
      node, endpoint, group = choose(groups, function(region, version)
        return right(version) and (region == ARGV[12] or not near)
      end)
    end
  end
end
if not node then
  local takers = 0
  for _, g in ipairs(groups) do
    local n = redis.call('ZCARD', group_key(cluster, g))
    takers = takers + n
    if n == 0 then
      redis.call('SREM', prefix .. 'gs:' .. cluster, g)
    end
  end
  return {'none', takers, pack and without or 0}
end

local lapses = now + tonumber(ARGV[7])
for player = 1, players do
  redis.call('ZADD', reserved_key(node), int(lapses), id .. ':' .. player)
end
redis.call('PEXPIRE', reserved_key(node), kept)
redis.call('SET', record_key, node .. '\n' .. players .. ' ' .. int(lapses) .. ' ' .. ARGV[2], 'PX', ARGV[8])
local carries = tonumber(redis.call('HGET', node_key(node), 'cap'))
redis.call('ZINCRBY', group_key(cluster, group), string.format('%.17g', players / (carries == 0 and 1000000 or carries)), node)
return answer(node, endpoint, lapses, '1')
