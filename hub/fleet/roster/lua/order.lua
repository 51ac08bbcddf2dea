-- Orders a node to drain, ends that, or says whether it is red.
--
-- ARGV[1]  the node
-- ARGV[2]  the leader's term; empty: an operator gives the order
-- ARGV[3]  "drain", "undrain" or "mark"; "probing" says that a controller looks whether
--          nodes answer, and is for no node
-- ARGV[4]  the drain as JSON; of a mark why the node is red, empty: it is not
-- ARGV[5]  the drain's id; of "probing" for how long, in milliseconds
-- Returns "ok"; "fenced" when the term is over; "none" when there is no such node; or
-- "operator" when it drains by an operator's order, which no leader changes.
local id, term, what = ARGV[1], ARGV[2], ARGV[3]
if fenced(term) then
  return 'fenced'
end
if what == 'probing' then
  redis.call('SET', prefix .. 'probing', '1', 'PX', ARGV[5])
  return 'ok'
end
local key = node_key(id)
local n, workers = read(id)
if not n or not n.endpoint then
  return 'none'
end
redis.call('HDEL', key, '-') -- a full Redis lets a script go on that has begun to write
local s = sum(n, workers)

if what == 'mark' then
  if (n.red or '') == ARGV[4] and (n.green or ARGV[4] ~= '') then
    return 'ok'
  end
  n.red = ARGV[4] ~= '' and ARGV[4] or nil
  n.green = n.green or ARGV[4] == '' and '1' or nil
else
  if term ~= '' and n.drain_id and n.by == 'operator' then
    return 'operator'
  elseif what == 'undrain' then
    n.drain, n.drain_id, n.by = nil, nil, nil
  else
    local drain = ARGV[4]
    if n.drain_id == ARGV[5] then -- the same goes on
      local d = cjson.decode(drain)
      d.since = cjson.decode(n.drain).since
      drain = cjson.encode(d)
    end
    n.drain, n.drain_id, n.by = drain, ARGV[5], term == '' and 'operator' or 'leader'
  end
end
redis.call('HSET', key, 'order', int(math.max(now, tonumber(n.order or '0') + 1)))
for _, field in ipairs({'red', 'green', 'drain', 'drain_id', 'by'}) do
  if n[field] then
    redis.call('HSET', key, field, n[field])
  else
    redis.call('HDEL', key, field)
  end
end
local state, why = judge(n, s)
if state == 'ready' then
  why = ''
elseif why == '' then
  why = state
end
redis.call('HSET', key, 'ready', why)
enter(id, n, state, tonumber(n.conns or '0'))
return 'ok'
