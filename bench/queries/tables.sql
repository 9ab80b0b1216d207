-- The three tables of the auction benchmark. A name between at signs stands for the options of the source under test.
CREATE SOURCE person (id BIGINT, name TEXT, "emailAddress" TEXT, "creditCard" TEXT, city TEXT, state TEXT,
    "dateTime" TIMESTAMP, extra TEXT, WATERMARK FOR "dateTime" AS "dateTime" - INTERVAL '4 seconds') WITH (@person@);
CREATE SOURCE auction (id BIGINT, "itemName" TEXT, description TEXT, "initialBid" BIGINT, reserve BIGINT,
    "dateTime" TIMESTAMP, expires TIMESTAMP, seller BIGINT, category BIGINT, extra TEXT,
    WATERMARK FOR "dateTime" AS "dateTime" - INTERVAL '4 seconds') WITH (@auction@);
CREATE SOURCE bid (auction BIGINT, bidder BIGINT, price BIGINT, channel TEXT, url TEXT, "dateTime" TIMESTAMP, extra TEXT,
    WATERMARK FOR "dateTime" AS "dateTime" - INTERVAL '4 seconds') WITH (@bid@);
