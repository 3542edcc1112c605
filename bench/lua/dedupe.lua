-- The same job, as it would be written in nginx: decode, one EVALSHA to claim, a subrequest with
-- what is new, one EVALSHA to settle, one list back. Made as fast as its author could: pooled
-- connections, one reply string a script, results encoded once and joined as text, and no string
-- made where its parts can be sent as they are: LuaJIT looks each one up among all it has. It has no
-- leases to extend, no isolation, no waiting, no lookups: the straight way only.
local cjson = require "cjson"
local decode, encode = cjson.decode, cjson.encode
local concat, format = table.concat, string.format

local CLAIM = [[
local out = {}
for i, key in ipairs(KEYS) do
  local stored = redis.call('GET', key)
  local print_ = ARGV[i + 2]
  if not stored then
    redis.call('SET', key, 'H' .. print_ .. ARGV[1], 'PX', ARGV[2])
    out[i] = 'W'
  elseif stored:sub(2, 17) ~= print_ then
    out[i] = 'M'
  elseif stored:sub(1, 1) == 'H' then
    out[i] = 'B'
  else
    out[i] = stored:sub(18)
  end
end
return table.concat(out, '\n')
]]

local SETTLE = [[
for i, key in ipairs(KEYS) do
  redis.call('SET', key, ARGV[i + 1], 'PX', ARGV[1])
end
return ''
]]

-- A word may be the list of its parts.
local function command(sock, words)
  local out, n = { "*" .. #words .. "\r\n" }, 1
  for i = 1, #words do
    local word = words[i]
    local size = 0
    if type(word) == "string" then
      size = #word
    else
      for j = 1, #word do
        size = size + #word[j]
      end
    end
    out[n + 1] = "$" .. size .. "\r\n"
    out[n + 2] = word
    out[n + 3] = "\r\n"
    n = n + 3
  end
  assert(sock:send(out))
  local line = assert(sock:receive("*l"))
  if line:byte() == 45 then
    return nil, line
  end
  local text = assert(sock:receive(tonumber(line:sub(2)) + 2))
  return text:sub(1, -3)
end

local shas = {}

local function script(source, keys, arguments)
  local sock = ngx.socket.tcp()
  assert(sock:connect("127.0.0.1", tonumber(ngx.var.redis_port)))
  if not shas[source] then
    shas[source] = assert(command(sock, { "SCRIPT", "LOAD", source }))
  end
  local words = { "EVALSHA", shas[source], tostring(#keys) }
  local n = 3
  for i = 1, #keys do
    n = n + 1
    words[n] = keys[i]
  end
  for i = 1, #arguments do
    n = n + 1
    words[n] = arguments[i]
  end
  local reply, problem = command(sock, words)
  if not reply and problem:find("NOSCRIPT", 1, true) then
    words[1], words[2] = "EVAL", source
    reply, problem = command(sock, words)
  end
  sock:setkeepalive(60000, 64)
  return assert(reply, problem)
end

ngx.req.read_body()
local data = ngx.req.get_body_data()
local items = decode(data).notifications
local tenant = ngx.var.http_x_tenant_id
local keys, claims = {}, { ngx.var.request_id, "30000" }
for i = 1, #items do
  local item = items[i]
  keys[i] = "lua:" .. tenant .. ":" .. item.key
  claims[i + 2] = ngx.md5_bin(encode(item))
end

-- Three parts an item: what stands before it, its text, its end.
local pieces, fresh, n = {}, {}, 0
local reply = script(CLAIM, keys, claims)
local i = 0
for state in reply:gmatch("[^\n]+") do
  i = i + 1
  local at_item = 3 * i
  pieces[at_item - 2] = ","
  pieces[at_item] = ""
  if state == "W" then
    n = n + 1
    fresh[n] = i
  elseif state == "M" then
    pieces[at_item - 1] = '{"isIdempotent":false,"error":{"code":"PAYLOAD_MISMATCH","retryable":false}}'
  elseif state == "B" then
    pieces[at_item - 1] = '{"isIdempotent":false,"error":{"code":"IN_PROGRESS","retryable":true}}'
  else
    pieces[at_item - 1] = state
    pieces[at_item] = ',"isIdempotent":true}'
  end
end

local rest = ""
if n > 0 then
  local body = data
  if n < #items then
    local part = {}
    for j = 1, n do
      part[j] = items[fresh[j]]
    end
    body = encode({ notifications = part })
  end
  local answer = ngx.location.capture("/upstream", { method = ngx.HTTP_POST, body = body })
  if answer.status ~= 200 then
    ngx.status = answer.status
    ngx.print(answer.body)
    return
  end
  local parsed = decode(answer.body)
  local results = parsed.results
  local at = format(',"processedAt":"%s.%03dZ"', os.date("!%Y-%m-%dT%H:%M:%S", ngx.time()),
    (ngx.now() * 1000) % 1000)
  local fresh_end = at .. ',"isIdempotent":false}'
  local settled, values = {}, { "86400000" }
  for j = 1, n do
    local which = fresh[j]
    local text = encode(results[j]):sub(1, -2)
    settled[j] = keys[which]
    values[j + 1] = { "D", claims[which + 2], text, at }
    pieces[3 * which - 1] = text
    pieces[3 * which] = fresh_end
  end
  script(SETTLE, settled, values)
  parsed.results = nil
  parsed.totalCount = #items
  rest = "," .. encode(parsed):sub(2, -2)
end
pieces[1] = '{"results":['
local whole = concat(pieces) .. "]" .. rest .. "}"
ngx.header["Content-Type"] = "application/json"
ngx.header["Content-Length"] = #whole
ngx.print(whole)
