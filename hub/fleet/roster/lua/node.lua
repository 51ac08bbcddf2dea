-- Stands before every script of the roster: its keys, and what is known of a node.
--
-- KEYS[1]  prefix of the roster's keys
-- KEYS[2]  prefix of the leases of processes
-- KEYS[3]  prefix of their tombstones
--
-- Below the first prefix:
--   nodes          set     all nodes
--   n:<node>       hash    one node, see below
--   r:<node>       zset    a member "<assignment>:<i>" for each player who was assigned
--                          to it and has not come, by when the place lapses
--   a:<assignment> string  "<node> <players> <lapses> <fingerprint>", for a minute
--   gs:<cluster>   set     the groups of nodes of a cluster: "<region>|<version>"
--   g:<cluster>|<group>    zset  the nodes of one that take players, by their load: players
--                          there and on their way, by what the node carries
--   key            string  what tickets are signed with
--   term           string  the leader's term (hub/fleet/control)
--   probing        string  there while a controller looks whether nodes answer
--
-- A node has the fields: front, endpoint, cluster, group, cap, workers and facts as
-- they were reported; w:<process>, "<reported> <first> <batch>\n<JSON>" of each worker;
-- whole, when all workers were last there; order, a number that grows with each order;
-- red, drain, drain_id and by, the orders; unproven when the
-- front came while a controller looked whether nodes answer, green once it has found
-- that; conns, the players it had by the last report; good, until when that
-- holds; ready, why it is not, empty if it is; conflict and conflict_at.
-- All times are Unix milliseconds of this Redis.
local prefix, leases, tombs = KEYS[1], KEYS[2], KEYS[3]

local silent_after, whole_for, conflict_for, kept = 3000, 5000, 5000, 60000

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local function int(n) return string.format('%.0f', n) end
local function node_key(id) return prefix .. 'n:' .. id end
local function reserved_key(id) return prefix .. 'r:' .. id end
local function group_key(cluster, group) return prefix .. 'g:' .. cluster .. '|' .. group end

-- read returns the fields of a node, and its workers by process; nil: there is none.
local function read(id)
  local flat = redis.call('HGETALL', node_key(id))
  if #flat == 0 then
    return nil
  end
  local n, workers = {}, {}
  for i = 1, #flat, 2 do
    local process = string.match(flat[i], '^w:(.+)$')
    if process then
      local at, first, batch, said = string.match(flat[i + 1], '^(%d+) (%d+) (%d+)\n(.*)$')
      workers[process] = {at = tonumber(at), first = tonumber(first), batch = batch, said = cjson.decode(said)}
    else
      n[flat[i]] = flat[i + 1]
    end
  end
  return n, workers
end

-- ended says that a worker which is silent need not be waited for.
local function ended(process, w, workers)
  if w.said.stopping or now - w.at > kept then
    return true
  end
  for _, other in pairs(workers) do
    if other.said.slot == w.said.slot and other.said.front == w.said.front and other.first > w.first then
      return true -- it has a successor
    end
  end
  if redis.call('EXISTS', tombs .. process) == 1 then
    return true
  end
  local lease = redis.call('GET', leases .. process)
  return lease and string.sub(lease, 1, 1) == '-'
end

-- sum adds up what the workers of a node have said. gone are those that have ended.
local function sum(n, workers)
  local s = {
    connections = 0, rooms = 0, seats = 0, cpu = 0, memory = 0, lag = 0, live = 0, whole = 0,
    told = 0, left = 0, left_rooms = 0, gone = {}, processes = {}, good = now + silent_after,
  }
  local slots = {}
  for process, w in pairs(workers) do
    if now - w.at <= silent_after then
      local l = w.said
      s.live = s.live + 1
      s.processes[#s.processes + 1] = process
      s.connections = s.connections + l.connections
      s.rooms, s.seats = s.rooms + l.rooms, s.seats + l.seats
      s.cpu, s.memory, s.lag = s.cpu + l.cpu, s.memory + l.memory, math.max(s.lag, l.lag_ms)
      s.good = math.min(s.good, w.at + silent_after)
      if l.front == n.front and not l.stopping and not slots[l.slot] then
        slots[l.slot] = true
        s.whole = s.whole + 1
      end
      if n.drain_id and l.drain == n.drain_id then
        s.told, s.left, s.left_rooms = s.told + l.told, s.left + l.left, s.left_rooms + l.left_rooms
      else
        s.left, s.left_rooms = s.left + l.connections, s.left_rooms + l.rooms
      end
    elseif ended(process, w, workers) then
      s.gone[#s.gone + 1] = process
    else
      s.silent = 'worker ' .. int(w.said.slot) .. ' is silent'
      s.processes[#s.processes + 1] = process
    end
  end
  return s
end

-- judge says what a node may be used for, and why not.
local function judge(n, s)
  if n.red then
    return 'red', n.red
  elseif s.silent then
    return 'red', s.silent
  elseif s.live == 0 then
    return 'red', 'no worker reports'
  elseif n.drain_id then
    return 'draining', ''
  elseif s.whole == 0 then
    return 'draining', 'it stops'
  elseif s.whole < tonumber(n.workers) and now - tonumber(n.whole or '0') > whole_for then
    return 'starting', s.whole .. ' of ' .. n.workers .. ' workers report'
  elseif n.unproven and not n.green and redis.call('EXISTS', prefix .. 'probing') == 1 then
    return 'starting', 'no probe has found that it answers'
  end
  return 'ready', ''
end

-- enter puts a node among those that take players, or takes it out.
local function enter(id, n, state, connections)
  local key = group_key(n.cluster, n.group)
  if state ~= 'ready' then
    redis.call('ZREM', key, id)
    return
  end
  local players = connections + redis.call('ZCARD', reserved_key(id))
  local carries = tonumber(n.cap)
  if carries == 0 then
    carries = 1000000 -- nobody knows: what counts is who has fewer
  end
  redis.call('ZADD', key, string.format('%.17g', players / carries), id)
  redis.call('SADD', prefix .. 'gs:' .. n.cluster, n.group)
end

-- fenced says that whoever gives an order is no leader any more. term is empty for an
-- operator.
local function fenced(term)
  return term ~= '' and redis.call('GET', prefix .. 'term') ~= term
end
