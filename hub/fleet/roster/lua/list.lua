-- Says how nodes are.
--
-- ARGV  the nodes
-- Returns now, and for each node that is there its id, its facts as they were reported,
-- its drain or '', and the rest as JSON.
local reply = {int(now)}
for _, id in ipairs(ARGV) do
  local n, workers = read(id)
  if n and n.endpoint then
    local s = sum(n, workers)
    local state, why = judge(n, s)
    local conflict = ''
    if n.conflict and now - tonumber(n.conflict_at) <= conflict_for then
      conflict = n.conflict
    end
    reply[#reply + 1] = id
    reply[#reply + 1] = n.facts
    reply[#reply + 1] = n.drain or ''
    reply[#reply + 1] = cjson.encode({
      state = state, why = why, conflict = conflict, reserved = redis.call('ZCARD', reserved_key(id)),
      live = s.live, drain_id = n.drain_id or '', by = n.by or '',
      connections = s.connections, rooms = s.rooms, seats = s.seats, cpu = s.cpu, memory = s.memory, lag_ms = s.lag,
      told = s.told, left = s.left, left_rooms = s.left_rooms, processes = table.concat(s.processes, ' '),
    })
  elseif not n then
    redis.call('SREM', prefix .. 'nodes', id)
  end
end
return reply
