-- wrk's side of bench/orders.py: a new order in every request, with the next click token.
local tokens = {}
for line in io.lines(os.getenv("BENCH_TOKENS")) do tokens[#tokens + 1] = line end
local body = io.open(os.getenv("BENCH_BODY")):read("*a")
local run = os.getenv("BENCH_RUN")
local headers = {
  ["Content-Type"] = "application/json",
  ["Authorization"] = "Bearer " .. os.getenv("BENCH_KEY"),
}
local sent = 0

request = function()
  sent = sent + 1
  local token = tokens[sent % #tokens + 1]
  local buyer = "C-" .. (sent % 5000)
  return wrk.format("POST", nil, headers, string.format(body, run .. "-" .. sent, buyer, token))
end
