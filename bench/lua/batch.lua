-- wrk: batches of SIZE items. Arguments: SIZE MIX SEED ITEM, MIX one of new, half, replayed, ITEM an
-- item's text with ~ for its batch and # for its number. Known items come from POOL fixed batches
-- that were sent before (bench/load.py makes the same); new ones bear SEED.
--
-- It shares two cores with what is measured, so it makes no string an item: what stands between the
-- names is cut once, and joined by the name of each batch.
local POOL = 16
local size, mix, seed, counter = 1, "new", "x", 0
local head
local items, all = {}, {} -- cut where the batch's name comes: each item, and their list
local whole = {}

local function cut(text)
  local pieces = {}
  for piece in (text .. "~"):gmatch("([^~]*)~") do
    pieces[#pieces + 1] = piece
  end
  return pieces
end

local function known(batch)
  return "known-" .. size .. "-" .. batch
end

local function post(list)
  return head .. (#list + 20) .. '\r\n\r\n{"notifications":[' .. list .. ']}'
end

function init(args)
  size, mix, seed = tonumber(args[1]), args[2], args[3]
  wrk.headers["Content-Type"] = "application/json"
  wrk.headers["X-Tenant-Id"] = "bench"
  head = wrk.format("POST"):sub(1, -3) .. "Content-Length: "
  local texts = {}
  for i = 1, size do
    texts[i] = args[4]:gsub("#", string.format("%05d", i))
    items[i] = cut(texts[i])
  end
  all = cut(table.concat(texts, ","))
  for batch = 1, mix == "new" and 0 or POOL do
    whole[batch] = post(table.concat(all, known(batch)))
  end
end

function request()
  counter = counter + 1
  local pool = counter % POOL + 1
  if mix == "replayed" then
    return whole[pool]
  end
  local name = seed .. "-" .. counter
  if mix == "new" then
    return post(table.concat(all, name))
  end
  local made = {}
  for i = 1, size do
    made[i] = table.concat(items[i], i % 2 == counter % 2 and known(pool) or name)
  end
  return post(table.concat(made, ","))
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests":%d,"seconds":%f,"p50":%f,"p99":%f,"failed":%d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3,
    latency:percentile(99) / 1e3,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
