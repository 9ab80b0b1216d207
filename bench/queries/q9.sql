-- The winning bid of each auction: the highest, of equal ones the first. The public query numbers rows; here the first of the highest is found
-- by two aggregates over a narrow join, and only then are the rows put together. Two equal bids of one millisecond both win.
WITH valid AS (
    SELECT a.id, b.price, b."dateTime" AS bid_time
    FROM auction a JOIN bid b ON a.id = b.auction AND b."dateTime" BETWEEN a."dateTime" AND a.expires),
highest AS (SELECT id, max(price) AS price FROM valid GROUP BY id),
first AS (
    SELECT v.id, v.price, min(v.bid_time) AS bid_time
    FROM valid v JOIN highest h ON v.id = h.id AND v.price = h.price
    GROUP BY v.id, v.price)
SELECT a.id, a."itemName", a.description, a."initialBid", a.reserve, a."dateTime", a.expires, a.seller, a.category, a.extra,
       b.auction, b.bidder, b.price, b."dateTime" AS bid_time, b.extra AS bid_extra
FROM first f
JOIN auction a ON a.id = f.id
JOIN bid b ON b.auction = f.id AND b.price = f.price AND b."dateTime" = f.bid_time
