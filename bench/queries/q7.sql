SELECT b.auction, b.price, b.bidder, b."dateTime", b.extra
FROM bid b
JOIN (SELECT window_end AS we, max(price) AS maxprice
      FROM TUMBLE(bid, "dateTime", INTERVAL '10 seconds')
      GROUP BY window_start, window_end) m
  ON b.price = m.maxprice
WHERE b."dateTime" BETWEEN m.we - INTERVAL '10 seconds' AND m.we
