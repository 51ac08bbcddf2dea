-- Takes what a worker says of itself, and answers with the orders of its node.
--
-- ARGV[1]   the node
-- ARGV[2]   the process
-- ARGV[3]   what it says, as JSON: front, slot, stopping, connections, rooms, seats, cpu,
--           memory, lag_ms; drain, told, left and left_rooms of a drain
-- ARGV[4]   '1' when this is its last word
-- ARGV[5]   the front that it is of: its master's id
-- ARGV[6]   the endpoint
-- ARGV[7]   the cluster
-- ARGV[8]   the group
-- ARGV[9]   how many players the node carries, 0: no bound is known
-- ARGV[10]  its workers
-- ARGV[11]  the other facts, as JSON
-- ARGV[12]  the number of the batch of arrivals that comes with this report
-- ARGV[13]  the number of the orders that the process knows, and those: red, drain,
-- ..[17]    drain_id and by
-- ARGV[18]  a mark of the key for tickets that it knows
-- ARGV[19]  a key to be used if there is none
-- ARGV[20]  how many nodes there may be
-- ARGV[21..] arrivals: an assignment and how many players it is for, one after the other
-- Returns "left" after a last word; "full" when there are too many nodes; "conflict"
-- and the endpoint of the other front; or "ok", the number of the orders, red, drain,
-- drain_id, by, the connections of the process, those of the node, its live workers,
-- now, the key or '', how many arrivals found no place kept for them, how many places
-- have lapsed, and targets: endpoint, what it carries and its players, one after the
-- other.
local id, process, front = ARGV[1], ARGV[2], ARGV[5]
local key = node_key(id)
redis.call('HDEL', key, '-') -- a full Redis lets a script go on that has begun to write

-- forget takes all of a node out.
local function forget(n)
  redis.call('ZREM', group_key(n.cluster, n.group), id)
  redis.call('SREM', prefix .. 'nodes', id)
  redis.call('DEL', key, reserved_key(id))
end

local n, workers = read(id)
if not n then
  if ARGV[4] == '1' then
    return {'left'}
  elseif #redis.call('SMEMBERS', prefix .. 'nodes') >= tonumber(ARGV[20]) then
    return {'full'}
  end
  n, workers = {front = front}, {}
end

-- One front has a name at a time: another one gets it when that one is silent or stops.
-- Whoever stops says no more than how it stands.
local said = cjson.decode(ARGV[3])
if n.front ~= front and not said.stopping then
  for _, w in pairs(workers) do
    if w.said.front == n.front and not w.said.stopping and now - w.at <= silent_after then
      redis.call('HSET', key, 'conflict', ARGV[6], 'conflict_at', int(now))
      return {'conflict', n.endpoint or ''}
    end
  end
end

if n.front ~= front and not said.stopping or not n.endpoint then
  -- Nobody knows whether a new one answers. One that was there before somebody began to
  -- look is not put out of service for that.
  n.front, n.green = front, nil
  redis.call('HDEL', key, 'green')
  n.unproven = redis.call('EXISTS', prefix .. 'probing') == 1 and '1' or nil
  if n.unproven then
    redis.call('HSET', key, 'unproven', '1')
  else
    redis.call('HDEL', key, 'unproven')
  end
end
if n.front == front then
  if n.group and (n.group ~= ARGV[8] or n.cluster ~= ARGV[7]) then
    redis.call('ZREM', group_key(n.cluster, n.group), id)
  end
  n.endpoint, n.cluster, n.group, n.cap, n.workers = ARGV[6], ARGV[7], ARGV[8], ARGV[9], ARGV[10]
  redis.call('HSET', key, 'front', front, 'endpoint', ARGV[6], 'cluster', ARGV[7], 'group', ARGV[8],
    'cap', ARGV[9], 'workers', ARGV[10], 'facts', ARGV[11])
end

-- Orders that a failover has lost come back from those who obey them.
if tonumber(ARGV[13]) > tonumber(n.order or '0') then
  n.order, n.red, n.drain, n.drain_id, n.by = ARGV[13], ARGV[14], ARGV[15], ARGV[16], ARGV[17]
  redis.call('HSET', key, 'order', n.order)
  for _, field in ipairs({'red', 'drain', 'drain_id', 'by'}) do
    if n[field] == '' then
      n[field] = nil
      redis.call('HDEL', key, field)
    else
      redis.call('HSET', key, field, n[field])
    end
  end
end

-- came notes of an assignment that it has been used: who asks again hears the same.
local function came(assignment)
  local record = redis.call('GET', prefix .. 'a:' .. assignment)
  if record and string.sub(record, -5) ~= ' came' then
    redis.call('SET', prefix .. 'a:' .. assignment, record .. ' came', 'XX', 'KEEPTTL')
  end
end

-- Arrivals of a batch count once, however often it is reported.
local missing, had = 0, workers[process]
if not had or had.batch ~= ARGV[12] then
  for i = 21, #ARGV, 2 do
    local found = 0
    for player = 1, tonumber(ARGV[i + 1]) do
      found = redis.call('ZREM', reserved_key(id), ARGV[i] .. ':' .. player)
      if found == 1 then
        came(ARGV[i])
        break
      end
    end
    missing = missing + 1 - found
  end
end
local lapsed = redis.call('ZRANGE', reserved_key(id), '-inf', int(now), 'BYSCORE', 'LIMIT', 0, 2000)
if #lapsed > 0 then
  redis.call('ZREM', reserved_key(id), unpack(lapsed))
end

if ARGV[4] == '1' then
  workers[process] = nil
  redis.call('HDEL', key, 'w:' .. process)
  if next(workers) == nil then
    forget(n)
    return {'left'}
  end
else
  local first = had and had.first or now
  workers[process] = {at = now, first = first, batch = ARGV[12], said = said}
  redis.call('HSET', key, 'w:' .. process, int(now) .. ' ' .. int(first) .. ' ' .. ARGV[12] .. '\n' .. ARGV[3])
end
redis.call('SADD', prefix .. 'nodes', id)

local s = sum(n, workers)
for _, gone in ipairs(s.gone) do
  redis.call('HDEL', key, 'w:' .. gone)
end
if s.whole >= tonumber(n.workers) then
  n.whole = int(now)
end
local state, why = judge(n, s)
if state == 'ready' then
  why = ''
elseif why == '' then
  why = state
end
redis.call('HSET', key, 'conns', s.connections, 'good', int(s.good), 'ready', why, 'whole', n.whole or '0')
redis.call('PEXPIRE', key, kept)
redis.call('PEXPIRE', reserved_key(id), kept)
enter(id, n, state, s.connections)

local ticket_key = redis.call('GET', prefix .. 'key')
if not ticket_key then
  ticket_key = ARGV[19]
  redis.call('SET', prefix .. 'key', ticket_key)
end
if string.sub(redis.sha1hex(ticket_key), 1, 8) == ARGV[18] then
  ticket_key = ''
end
local reply = {
  'ok', n.order or '0', n.red or '', n.drain or '', n.drain_id or '', n.by or '',
  said.connections, s.connections, s.live, int(now), ticket_key, missing, #lapsed,
}
if not n.drain_id then
  return reply
end

-- targets adds the nodes of some groups to the reply.
local function targets(mine)
  local region = string.match(n.group, '^[^|]*')
  for _, group in ipairs(redis.call('SMEMBERS', prefix .. 'gs:' .. n.cluster)) do
    if (string.match(group, '^[^|]*') == region) == mine then
      for _, other in ipairs(redis.call('ZRANGE', group_key(n.cluster, group), '-inf', '(1', 'BYSCORE', 'LIMIT', 0, 16)) do
        local has = redis.call('HMGET', node_key(other), 'endpoint', 'cap', 'conns', 'good')
        if has[1] and tonumber(has[4]) >= now and #reply < 13 + 3 * 32 then
          reply[#reply + 1] = has[1]
          reply[#reply + 1] = has[2]
          reply[#reply + 1] = int(tonumber(has[3]) + redis.call('ZCARD', reserved_key(other)))
        end
      end
    end
  end
end
targets(true)
if #reply == 13 then
  targets(false) -- none of the region has room
end
return reply
