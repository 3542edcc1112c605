-- The legacy service of the benchmark: one result an item, without parsing more than the keys, so
-- that it is never what limits. Its ids need all 64 bits. It shares two cores with what is
-- measured, so it looks for plain text and makes no string an item but its key.
local find, sub = string.find, string.sub

ngx.req.read_body()
local body = ngx.req.get_body_data() or ""
local delay = tonumber(ngx.var.delay)
if delay > 0 then
  ngx.sleep(delay)
end
local out, n = { '{"results":[' }, 0
local _, before = find(body, 'key":"', 1, true)
while before do
  local behind = find(body, '"', before + 1, true)
  local at = 5 * n + 1
  n = n + 1
  out[at + 1] = n == 1 and '{"id":170000000000000' or ',{"id":170000000000000'
  out[at + 2] = 10000 + n
  out[at + 3] = ',"key":"'
  out[at + 4] = sub(body, before + 1, behind - 1)
  out[at + 5] = '","status":"SENT","cost":1.0,"acceptedAt":"2026-01-01T00:00:00Z"}'
  _, before = find(body, 'key":"', behind, true)
end
out[5 * n + 2] = '],"totalCount":' .. n .. '}'
local answer = table.concat(out)
ngx.header["Content-Type"] = "application/json"
ngx.header["Content-Length"] = #answer
ngx.print(answer)
