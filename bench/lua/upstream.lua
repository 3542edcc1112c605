-- The legacy service of the benchmark: one result an item, without parsing more than the keys, so
-- that it is never what limits. Its ids need all 64 bits.
ngx.req.read_body()
local body = ngx.req.get_body_data() or ""
local delay = tonumber(ngx.var.delay)
if delay > 0 then
  ngx.sleep(delay)
end
local out, n = {}, 0
for key in string.gmatch(body, '"key":"([^"]+)"') do
  n = n + 1
  out[n] = '{"id":170000000000000' .. (10000 + n) .. ',"key":"' .. key
    .. '","status":"SENT","cost":1.0,"acceptedAt":"2026-01-01T00:00:00Z"}'
end
ngx.header["Content-Type"] = "application/json"
local answer = '{"results":[' .. table.concat(out, ",") .. '],"totalCount":' .. n .. '}'
ngx.header["Content-Length"] = #answer
ngx.print(answer)
