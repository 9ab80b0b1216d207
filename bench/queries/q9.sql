SELECT id, "itemName", description, "initialBid", reserve, "dateTime", expires, seller, category, extra,
       auction, bidder, price, bid_time, bid_extra
FROM (
    SELECT a.*, b.auction, b.bidder, b.price, b."dateTime" AS bid_time, b.extra AS bid_extra,
           row_number() OVER (PARTITION BY a.id ORDER BY b.price DESC, b."dateTime") AS rank_number
    FROM auction a JOIN bid b ON a.id = b.auction AND b."dateTime" BETWEEN a."dateTime" AND a.expires
) AS ranked
WHERE rank_number <= 1
