"""Layouts of public data sets and tools, with invented rows: each is read right or refused, and none is read wrong."""

from __future__ import annotations

from typing import NamedTuple

import polars as pl
import pytest

from autorec_cli.data.readers.formats import read_source
from autorec_cli.data.readers.options import ROLES, ReadOptions
from autorec_cli.data.readers.sources import open_source
from autorec_cli.data.readers.tables.frames import detect_frame
from autorec_cli.errors import InputDataError

REFUSED = None


class Case(NamedTuple):
    """A layout: its rows, and the columns of user, item, rating and timestamp from 1, 0 for none; or `REFUSED`."""

    text: str
    columns: tuple[int, int, int, int] | None


def csv(header, *rows, columns):
    return Case("\n".join([*([header] if header else []), *rows]) + "\n", columns)


LAYOUTS = {
    "MovieLens": csv(
        "userId,movieId,rating,timestamp",
        "1,31,2.5,1260759144",
        "7,10,4.0,1260759179",
        "9,31,5.0,1260759182",
        columns=(1, 2, 3, 4),
    ),
    "MovieLens 100K": csv(
        None, "196\t242\t3\t881250949", "186\t302\t3\t891717742", "22\t377\t1\t878887116", columns=(1, 2, 3, 4)
    ),
    "MovieLens 1M": csv(
        None, "1::1193::5::978300760", "1::661::3::978302109", "2::914::3::978301968", columns=(1, 2, 3, 4)
    ),
    "MovieLens HetRec": csv(
        "userID\tmovieID\trating\tdate_day\tdate_month\tdate_year\tdate_hour\tdate_minute\tdate_second",
        "75\t3\t1\t29\t10\t2006\t23\t17\t16",
        "75\t32\t4.5\t29\t10\t2006\t23\t23\t44",
        "78\t3\t4\t2\t1\t2007\t3\t7\t6",
        columns=(1, 2, 3, 0),
    ),
    "Personality 2018": csv(
        "useri, movie_id, rating, tstamp",
        "8e7c, 1, 5.0, 2001-07-25 05:31:25",
        "8e7c, 2, 4.0, 2001-07-25 05:32:31",
        "9f2b, 1, 3.0, 2001-07-26 05:32:00",
        columns=(1, 2, 3, 4),
    ),
    "Serendipity 2018": csv(
        "userId,movieId,rating,timestamp,predictedRating,s1,s2,q",
        "100,1,5.0,1511174400000,3.9,3,4,2",
        "101,2,3.0,1511174400001,3.1,1,4,2",
        "100,3,4.0,1511174400002,3.5,3,2,2",
        columns=(1, 2, 3, 4),
    ),
    "Netflix on Kaggle": csv(
        "Cust_Id,Movie_Id,Rating,Date",
        "1488844,1,3,2005-09-06",
        "822109,1,5,2005-05-13",
        "885013,2,4,2005-10-19",
        columns=(1, 2, 3, 4),
    ),
    "Amazon 2014": csv(
        None,
        "A2EFCYXHNK06IS,0001393774,5.0,1367280000",
        "A1WR23ER5HMAA9,0001393774,4.0,1278633600",
        "A2IR4Q0GPAFJKW,B00MEOXXRS,3.0,1393545600",
        columns=(1, 2, 3, 4),
    ),
    "Amazon 2018, item first": csv(
        None,
        "0001713353,A1C6M8LCIX4M6M,5.0,1123804800",
        "0001713353,A1REUF3A1YCPHM,4.0,1112140800",
        "B00MEOXXRS,A1YRBRK2XM5D5,3.0,1081036800",
        columns=(2, 1, 3, 4),
    ),
    "Amazon 2018 reviews": csv(
        "overall,verified,reviewTime,reviewerID,asin,style,reviewerName,reviewText,summary,unixReviewTime,vote",
        '5.0,True,"03 6, 2013",A1C6M8LCIX4M6M,0005019281,,Ann,A fine film for a long day,Fine,1362528000,2',
        '4.0,True,"09 25, 2013",A1REUF3A1YCPHM,0005019281,,Bob,We saw it every single year,Good,1380067200,',
        '1.0,False,"10 17, 2012",A1YRBRK2XM5D5,B00MEOXXRS,,Cid,It was not for me at all,Bad,1350432000,3',
        columns=(4, 5, 1, 10),
    ),
    "Amazon 2023": csv(
        "user_id,parent_asin,rating,timestamp",
        "AGKHLEW2SOWHNMFQIJGBECAF7INQ,B08BV6C3J8,5.0,1612044451196",
        "AGXVBIUFLFGMVLATYXHJYL4A5Q7Q,B08BZ7MX5K,4.0,1610000000000",
        "AGXVBIUFLFGMVLATYXHJYL4A5Q8Q,B08BZ7MX5K,1.0,1610000000009",
        columns=(1, 2, 3, 4),
    ),
    "Amazon 2023 reviews": csv(
        "rating,title,text,images,asin,parent_asin,user_id,timestamp,helpful_vote,verified_purchase",
        "5.0,Nice,It is a nice one,[],B00YQ6X8EO,B00YQ6X8EP,AGKH,1588687728923,0,True",
        "4.0,Good,It is a good one,[],B081TJ8YS3,B081TJ8YS4,AGKH,1588615855070,1,True",
        "1.0,Bad,It is a bad one,[],B07PNNCSP9,B07PNNCSP8,AE74,1589665266052,2,True",
        columns=(7, 6, 1, 8),
    ),
    "Amazon customer reviews": csv(
        "marketplace\tcustomer_id\treview_id\tproduct_id\tproduct_parent\tproduct_title\tproduct_category\tstar_rating"
        "\thelpful_votes\ttotal_votes\tvine\tverified_purchase\treview_headline\treview_body\treview_date",
        'US\t11555559\tR1Q\tB00A\t33\t12" disk\tMusic\t5\t0\t1\tN\tY\tFive "Stars\tA gift\t2015-08-31',
        "US\t31469372\tR2S\tB00B\t34\tLamp\tHome\t4\t0\t0\tN\tY\tFour Stars\tNice\t2015-08-30",
        "US\t26843895\tR3T\tB00C\t35\tSoap\tBath\t1\t2\t3\tN\tY\tOne Star\tNo\t2015-08-29",
        columns=(2, 4, 8, 15),
    ),
    "Amazon Fine Foods": csv(
        "Id,ProductId,UserId,ProfileName,HelpfulnessNumerator,HelpfulnessDenominator,Score,Time,Summary,Text",
        "1,B001E4KFG0,A3SGXH7AUHU8GW,delmartian,1,1,5,1303862400,Good,I have bought it",
        "2,B00813GRG4,A1D87F6ZCVE5NK,dll pa,0,0,1,1346976000,Bad,It was not good",
        "3,B000LQOCH0,ABXLMWJIXXAIN,Natalia,1,1,4,1219017600,Fine,It is a treat",
        columns=(3, 2, 7, 8),
    ),
    "SNAP reviews": csv(
        "product/productId,review/userId,review/profileName,review/helpfulness,review/score,review/time,review/text",
        "B001,A141,Ann,7/7,3.0,1042502400,Fine",
        "B002,A228,Bob,10/10,5.0,1041552000,Good",
        "B001,A300,Cid,0/1,1.0,1041552009,Bad",
        columns=(2, 1, 5, 6),
    ),
    "Amazon Beauty on Kaggle": csv(
        "UserId,ProductId,Rating,Timestamp",
        "A39HTATAQ9V7YF,0205616461,5.0,1369699200",
        "A3JM6GV9MNOF9X,0558925278,3.0,1355443200",
        "A1Z513UWSAAO0F,0558925278,5.0,1404691200",
        columns=(1, 2, 3, 4),
    ),
    "Kindle reviews on Kaggle": csv(
        ",asin,helpful,overall,reviewText,reviewTime,reviewerID,reviewerName,summary,unixReviewTime",
        '0,B000F83SZQ,"[0, 0]",5,I enjoy this one,"05 5, 2014",A1F6404F1VG29J,Avi,Nice,1399248000',
        '1,B000F83SZR,"[2, 2]",4,This was a good book,"01 6, 2014",AN0N05A9LIJEQ,Cat,Fine,1388966400',
        '2,B000F83SZQ,"[2, 2]",3,This is fairly good,"04 4, 2014",A795DMNCJILA6,Dot,OK,1396569600',
        columns=(7, 2, 4, 10),
    ),
    "Book-Crossing": csv(
        '"User-ID";"ISBN";"Book-Rating"',
        '"276725";"034545104X";"0"',
        '"276726";"0155061224";"5"',
        '"276727";"0446520802";"8"',
        columns=(1, 2, 3, 0),
    ),
    "Goodbooks-10k": csv("user_id,book_id,rating", "1,258,5", "2,4081,4", "2,260,5", columns=(1, 2, 3, 0)),
    "Goodbooks-10k, item first": csv("book_id,user_id,rating", "1,314,5", "1,439,3", "2,588,5", columns=(2, 1, 3, 0)),
    "Goodreads interactions": csv(
        "user_id,book_id,is_read,rating,is_reviewed", "0,948,1,5,0", "0,947,1,5,1", "1,946,0,0,0", columns=(1, 2, 4, 0)
    ),
    "Goodreads reviews": csv(
        "user_id,book_id,review_id,rating,review_text,date_added,date_updated,n_votes,n_comments",
        "8842,24375664,5cd4,5,I liked it a lot,2017-08-30,2017-10-11,16,0",
        "8842,18245960,dfdb,3,Not my kind of book,2017-07-30,2017-12-02,28,1",
        "7504,6392944,5e21,4,It was a fine book,2016-07-24,2016-08-24,6,0",
        columns=(1, 2, 4, 6),
    ),
    "Yelp": csv(
        "review_id,user_id,business_id,stars,useful,funny,cool,text,date",
        "KU_O,mh_-,XQfw,3.0,0,0,0,We had a good meal,2018-07-07 22:09:11",
        "BiTu,OyoG,7ATY,5.0,1,0,1,Best class of all time,2012-01-03 15:28:18",
        "saUs,8g_i,YjUW,3.0,0,0,0,It was all right there,2014-02-05 20:30:30",
        columns=(2, 3, 4, 9),
    ),
    "Yelp 2013 on Kaggle": csv(
        "business_id,date,review_id,stars,text,type,user_id,cool,useful,funny",
        "9yKz,2011-01-26,fWKv,5,My wife took me here,review,rLtl,2,5,0",
        "ZRJw,2011-07-27,IjZ3,4,I have no idea why,review,0a2K,0,0,0",
        "6oRA,2012-06-14,IESL,2,We love the place so,review,0hT2,0,1,0",
        columns=(7, 1, 4, 2),
    ),
    "Steam-200k": csv(
        None,
        "151603712,Skyrim,purchase,1.0,0",
        "151603712,Skyrim,play,273.0,0",
        "187131847,Dota,play,2.3,0",
        columns=REFUSED,
    ),
    "Steam recommendations": csv(
        "app_id,helpful,funny,date,is_recommended,hours,user_id,review_id",
        "975370,0,0,2022-12-12,True,36.3,51580,0",
        "304390,4,0,2017-02-17,False,11.5,2586,1",
        "1085660,2,0,2019-11-17,True,336.5,253880,2",
        columns=REFUSED,
    ),
    "Last.fm HetRec": csv(
        "userID\tartistID\tweight", "2\t51\t13883", "2\t52\t11690", "3\t51\t11351", columns=(1, 2, 3, 0)
    ),
    "Last.fm 360K": csv(
        None,
        "00000c28\t3bd73256\tbetty blowtorch\t2137",
        "00000c28\tf2fb0ff0\tdie aerzte\t1099",
        "00001411\tb3ae82c2\tmelissa ferrick\t897",
        columns=REFUSED,
    ),
    "Million Song taste profiles": csv(
        None,
        "b80344d0\tSOAKIMP12A8C130995\t1",
        "b80344d0\tSOBBMDR12A8C13253B\t2",
        "85c1f87f\tSOBBMDR12A8C13253B\t15",
        columns=(1, 2, 3, 0),
    ),
    "Million Song on Kaggle": csv(
        "user_id,song_id,listen_count",
        "b80344d0,SOAKIMP,1",
        "b80344d0,SOBBMDR,2",
        "85c1f87f,SOBBMDR,15",
        columns=(1, 2, 3, 0),
    ),
    "MyAnimeList": csv("user_id,anime_id,rating", "1,20,-1", "1,24,9", "3,79,8", columns=(1, 2, 3, 0)),
    "MyAnimeList lists": csv(
        "username,anime_id,my_watched_episodes,my_start_date,my_finish_date,my_score,my_status,my_last_updated",
        "karthiga,21,586,0000-00-00,0000-00-00,9,1,1362307973",
        "karthiga,59,26,0000-00-00,0000-00-00,7,2,1362923691",
        "damned,74,26,0000-00-00,0000-00-00,7,2,1367081015",
        columns=(1, 2, 6, 0),
    ),
    "Online Retail": csv(
        "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country",
        "536365,85123A,HEART HOLDER,6,12/1/2010 8:26,2.55,17850,France",
        "536365,71053,LANTERN,8,12/1/2010 8:26,3.39,17850,France",
        "536370,22728,CLOCK,24,12/1/2010 8:45,3.75,12583,France",
        columns=(7, 2, 4, 0),
    ),
    "Online Retail II": csv(
        "Invoice,StockCode,Description,Quantity,InvoiceDate,Price,Customer ID,Country",
        "489434,85048,LIGHTS,12,2009-12-01 07:45:00,6.95,13085,UK",
        "489434,79323P,LAMP,2,2009-12-01 07:45:00,6.75,13085,UK",
        "489436,22041,FRAME,48,2009-12-01 09:06:00,2.1,13078,UK",
        columns=(7, 2, 4, 5),
    ),
    "Instacart": csv(
        "order_id,product_id,add_to_cart_order,reordered", "2,33120,1,1", "2,28985,2,1", "3,9327,3,0", columns=REFUSED
    ),
    "BeerAdvocate": csv(
        "brewery_id,brewery_name,review_time,review_overall,review_aroma,review_appearance,review_profilename,beer_style,"
        "review_palate,review_taste,beer_name,beer_abv,beer_beerid",
        "10325,Vecchio,1234817823,1.5,2.0,2.5,stcules,Weizen,1.5,1.5,Sausa,5.0,47986",
        "10325,Vecchio,1235915097,3.0,2.5,3.0,stcules,Ale,3.0,3.0,Red Moon,6.2,48213",
        "1075,Caldera,1293735206,3.0,2.5,3.0,oline73,Stout,3.0,3.0,Black,6.5,48215",
        columns=(7, 13, 4, 3),
    ),
    "RateBeer": csv(
        "beer/name,beer/beerId,beer/brewerId,beer/ABV,beer/style,review/overall,review/time,review/profileName,review/text",
        "John Ale,63836,8481,5,Pale,13,1157587200,hopdog,Nice beer with good taste",
        "John Ale,63836,8481,5,Pale,13,1157241600,TomDecapolis,Not bad for such beer",
        "Black,71716,8481,7,Porter,14,958694400,PhillyBeer,Dark and full and sweet",
        columns=(8, 2, 6, 7),
    ),
    "Epinions": csv(None, "1 100 4", "1 101 5", "7 100 3", columns=(1, 2, 3, 0)),
    "Epinions extended": csv(
        None,
        "139431556|591156|5|0|2001/01/10|2001/01/10|1|2518365",
        "139431560|591156|5|0|2001/01/10|2001/01/10|1|2518365",
        "139431565|591157|4|0|2001/01/10|2001/01/10|1|2518366",
        columns=REFUSED,
    ),
    "Ciao": csv(None, "1,1,3,4,2,1006070400", "1,2,7,5,4,1006156800", "2,1,3,3,0,1006243200", columns=REFUSED),
    "CiaoDVD": csv(None, "1,1,1,58,4,2013-07-12", "1,2,1,63,5,2013-07-13", "2,1,1,64,3,2013-07-14", columns=REFUSED),
    "Food.com": csv(
        "user_id,recipe_id,date,rating,review",
        "38094,40893,2003-02-17,4,Great with a salad of mine",
        "1293707,40893,2011-12-21,5,So simple so very good",
        "8937,44394,2002-12-01,4,This worked very well here",
        columns=(1, 2, 4, 3),
    ),
    "Food.com training set": csv(
        "user_id,recipe_id,date,rating,u,i",
        "2046,4684,2000-02-25,5.0,22095,44367",
        "2046,517,2000-02-25,5.0,22095,87844",
        "1773,7435,2000-03-13,5.0,24732,138181",
        columns=(1, 2, 4, 3),
    ),
    "Jester": csv(
        None,
        "74,-7.82,8.79,-9.66,-8.16,-7.52,-8.5,-9.85",
        "100,4.08,-0.29,6.36,4.37,-2.38,-9.66,-0.73",
        "49,99,99,99,99,9.03,9.27,9.03",
        columns=REFUSED,
    ),
    "Yahoo! R3": csv(None, "1,14,5", "1,35,1", "2,46,1", columns=(1, 2, 3, 0)),
    "KKBox": csv(
        "msno,song_id,source_system_tab,source_screen_name,source_type,target",
        "FGtl,BBzu,explore,Explore,playlist,1",
        "Xumu,bhp/,library,Local,local,0",
        "FGtl,JNWf,library,Local,local,1",
        columns=REFUSED,
    ),
    "Tmall": csv(
        "user_id,item_id,cat_id,seller_id,brand_id,time_stamp,action_type",
        "328862,323294,833,2882,2661,829,0",
        "328862,844400,1271,2882,2661,829,0",
        "234512,575153,1271,2882,2661,829,2",
        columns=(1, 2, 0, 6),
    ),
    "Taobao behavior": csv(
        None,
        "1,2268318,2520377,pv,1511544070",
        "1,2333346,2520771,pv,1511561733",
        "100,2576651,149192,buy,1511572885",
        columns=REFUSED,
    ),
    "Gowalla": csv(
        None,
        "0\t2010-10-19T23:55:27Z\t30.23\t-97.79\t22847",
        "0\t2010-10-18T22:17:43Z\t30.26\t-97.76\t420315",
        "1\t2010-10-17T23:42:03Z\t30.25\t-97.76\t316637",
        columns=REFUSED,
    ),
    "Foursquare": csv(
        "userId,venueId,venueCategoryId,venueCategory,latitude,longitude,timezoneOffset,utcTimestamp",
        "470,49bbd6c0,4bf5127,Arts,40.71,-74.00,-240,Tue Apr 03 18:00:09 +0000 2012",
        "979,4a43c0ae,4bf51df,Bridge,40.60,-74.04,-240,Tue Apr 03 18:00:25 +0000 2012",
        "979,4c5cc7b4,4bf51d8,Home,40.71,-73.99,-240,Tue Apr 03 18:02:24 +0000 2012",
        columns=(1, 2, 0, 0),
    ),
    "Retailrocket": csv(
        "timestamp,visitorid,event,itemid,transactionid",
        "1433221332117,257597,view,355908,",
        "1433224214164,992329,view,248676,",
        "1433222276276,599528,transaction,356475,4000",
        columns=(2, 4, 0, 1),
    ),
    "Yoochoose": csv(
        None,
        "1,2014-04-07T10:51:09.277Z,214536502,0",
        "1,2014-04-07T10:54:09.868Z,214536500,0",
        "2,2014-04-07T13:56:37.614Z,214662742,0",
        columns=REFUSED,
    ),
    "H&M": csv(
        "t_dat,customer_id,article_id,price,sales_channel_id",
        "2018-09-20,000058a1,0663713001,0.0508,2",
        "2018-09-20,000058a1,0541518023,0.0304,2",
        "2018-09-21,00007d2d,0505221004,0.0152,1",
        columns=(2, 3, 0, 1),
    ),
    "XING": csv(
        "user_id\titem_id\tinteraction_type\tcreated_at",
        "7\t10\t1\t1440184643",
        "7\t11\t2\t1440184650",
        "9\t10\t1\t1440184700",
        columns=(1, 2, 0, 4),
    ),
    "EachMovie": csv(
        "Person_ID,Movie_ID,Score,Weight,Modified",
        "1,302,0.8,1,1997-01-01",
        "1,304,0.2,1,1997-01-02",
        "2,302,1,0.5,1997-01-03",
        columns=(1, 2, 3, 5),
    ),
    "LibimSeTi": csv(None, "1,133,8", "1,720,6", "2,971,10", columns=(1, 2, 3, 0)),
    "X-Wines": csv(
        "RatingID,UserID,WineID,Vintage,Rating,Date",
        "1,1604441,136103,1950,4.0,2019-11-26 08:48:16",
        "2,1088783,111434,1950,4.5,2018-02-15 04:02:27",
        "3,1023807,111435,1950,5.0,2017-07-29 11:25:13",
        columns=(2, 3, 5, 6),
    ),
    "UCI restaurants": csv(
        "userID,placeID,rating,food_rating,service_rating",
        "U1077,135085,2,2,2",
        "U1077,135038,2,2,1",
        "U1068,132825,1,2,2",
        columns=(1, 2, 3, 0),
    ),
    "ModCloth": csv(
        "item_id,user_id,rating,timestamp,size,fit,user_attr,model_attr,category,brand,year,split",
        "7443,Alex,4,2010-01-21 08:00:00+00:00,,,Small,Small,Dresses,,2012,0",
        "7443,carol,3,2010-01-27 08:00:00+00:00,,,,Small,Dresses,,2012,0",
        "7444,Cbarlo,5,2010-01-29 08:00:00+00:00,,,Small,Small,Dresses,,2012,2",
        columns=(2, 1, 3, 4),
    ),
    "Airbnb reviews": csv(
        "listing_id,id,date,reviewer_id,reviewer_name,comments",
        "2595,17857,2009-11-21,50679,Jean,We had a good time",
        "2595,19176,2009-12-05,53267,Cate,A great flat to stay",
        "2539,19760,2009-12-10,38960,Anita,I met them and liked",
        columns=(4, 1, 0, 3),
    ),
    "BoardGameGeek": csv(
        ",user,rating,comment,ID,name",
        "0,Torsten,10.0,,30549,Pandemic",
        "1,mitnachtKAUBO-I,10.0,,30549,Pandemic",
        "2,avlawn,9.5,,30550,Azul",
        columns=REFUSED,
    ),
    "Ta Feng": csv(
        "TRANSACTION_DT,CUSTOMER_ID,AGE_GROUP,PIN_CODE,PRODUCT_SUBCLASS,PRODUCT_ID,AMOUNT,ASSET,SALES_PRICE",
        "11/1/2000,01104905,45-49,115,110411,4710199010372,2,24,30",
        "11/1/2000,00418683,45-49,115,120107,4710857472535,1,48,46",
        "11/1/2000,01057331,35-39,115,100407,4710043654103,2,142,166",
        columns=REFUSED,
    ),
    "dunnhumby": csv(
        "household_key,BASKET_ID,DAY,PRODUCT_ID,QUANTITY,SALES_VALUE,STORE_ID",
        "2375,26984851472,1,1004906,1,1.39,364",
        "2375,26984851472,1,1033142,1,0.82,364",
        "2364,26984851473,2,1036325,3,0.99,365",
        columns=(1, 4, 5, 0),
    ),
    "Diginetica": csv(
        "sessionId;userId;itemId;timeframe;eventdate",
        "1;NA;81766;526309;2016-05-09",
        "1;18;31331;1031018;2016-05-09",
        "2;19;32118;243569;2016-05-10",
        columns=(2, 3, 0, 5),
    ),
    "Letterboxd on Kaggle": csv(
        "_id,movie_id,rating_val,user_id",
        "5fc5,feast-2014,7,deathproof",
        "5fc6,loving-2016,7,deathproof",
        "5fc7,scripted,6,kurstboy",
        columns=(4, 2, 3, 0),
    ),
    "Tenrec": csv(
        "user_id,item_id,click,follow,like,share",
        "0,97312,1,0,0,0",
        "0,9999,1,0,1,0",
        "5,97312,0,0,0,0",
        columns=(1, 2, 3, 0),
    ),
    "KuaiRec": csv(
        "user_id,video_id,play_duration,video_duration,time,date,timestamp,watch_ratio",
        "0,3649,13838,10867,2020-07-05 00:08:23.438,20200705,1593878903.438,1.27",
        "0,9598,13665,10984,2020-07-05 00:13:41.297,20200705,1593879221.297,1.24",
        "1,5262,851,7908,2020-07-05 00:16:06.687,20200705,1593879366.687,0.10",
        columns=REFUSED,
    ),
    "Restaurant visits": csv("reviewer_id,business_id,text", "a,x,good", "b,x,bad", "c,y,fair", columns=(1, 2, 0, 0)),
    "Pinterest": csv(None, "0\t12\t1\t0", "0\t34\t1\t0", "7\t12\t1\t0", columns=REFUSED),
    "Flixster": csv("userid\tmovieid\trating", "1\t139\t1.5", "1\t199\t5", "9\t139\t3.5", columns=(1, 2, 3, 0)),
    "FilmTrust": csv(None, "1 1 2", "1 2 4", "7 1 3.5", columns=(1, 2, 3, 0)),
    "Douban": csv(
        "ID,Movie_Name_EN,Movie_Name_CN,Crawl_Date,Number,Username,Date,Star,Comment,Like",
        "0,Avengers,FL,2017-01-22,1,Ann,2015-05-13,3,so so,2404",
        "1,Avengers,FL,2017-01-22,2,Bob,2015-04-24,2,bad,1231",
        "2,Zootopia,FK,2017-01-22,3,Cid,2016-03-04,5,good,1052",
        columns=REFUSED,
    ),
    "MIND": csv(
        None,
        "1\tU13740\t11/11/2019 9:05:58 AM\tN55189 N42782\tN55689-1",
        "2\tU91836\t11/12/2019 6:11:30 PM\tN31739\tN20678-0",
        "3\tU73700\t11/14/2019 7:01:48 AM\tN10732 N25792\tN50014-0",
        columns=REFUSED,
    ),
    "RecBole": csv(
        "item_id:token\tuser_id:token\trating:float\ttimestamp:float",
        "242\t196\t3\t881250949",
        "302\t186\t3\t891717742",
        "377\t22\t1\t878887116",
        columns=(2, 1, 3, 4),
    ),
    "Hive": csv(
        "ratings.item_id,ratings.user_id,ratings.rating,ratings.ts",
        "242,196,3,881250949",
        "302,186,3,891717742",
        "377,22,1,878887116",
        columns=(2, 1, 3, 4),
    ),
    "types in parentheses": csv(
        "item_id (string),user_id (string),rating (double),timestamp (bigint)",
        "242,196,3,881250949",
        "302,186,3,891717742",
        "377,22,1,878887116",
        columns=(2, 1, 3, 4),
    ),
    "SQL dump": csv(
        "`item_id` INT,`user_id` BIGINT,`score` DECIMAL(3)", "242,196,3", "302,186,3", "377,22,1", columns=(2, 1, 3, 0)
    ),
    "R data frame": csv(
        '"","User.ID","Movie.ID","Rating"', '"1",5,242,3', '"2",5,302,3', '"3",9,377,1', columns=(2, 3, 4, 0)
    ),
    "pandas index": csv(",movie,user,rating", "0,m1,u1,3", "1,m2,u1,4", "2,m1,u2,5", columns=(3, 2, 4, 0)),
    "pandas index, unknown item": csv(
        "Unnamed: 0,gizmo,uid,rating", "0,9,5,3", "1,8,5,4", "2,9,6,5", columns=(3, 2, 4, 0)
    ),
    "pandas merge": csv("user_id_x,movie_id,rating_y", "5,242,3", "5,302,3", "9,377,1", columns=(1, 2, 3, 0)),
    "pandas without names": csv(",0,1,2", "0,u1,m1,3", "1,u1,m2,4", "2,u2,m1,5", columns=(2, 3, 4, 0)),
    "index, unknown names": csv("index,who,what,score", "0,5,242,3", "1,5,302,3", "2,9,377,1", columns=REFUSED),
    "index without a name": csv(None, "0,5,242,3", "1,5,302,4", "2,9,377,1", columns=REFUSED),
    "index and text without names": csv(None, "0,u5,m242,3", "1,u5,m302,4", "2,u9,m377,1", columns=(2, 3, 4, 0)),
    "index and pairs": csv(None, "0,5,24", "1,5,30", "2,9,37", columns=REFUSED),
    "unknown counter": csv("row_nr,user_id,rating", "1,5,3", "2,5,4", "3,9,5", columns=REFUSED),
    "wide, named": csv("user,Heat,Alien,Ran", "a,5,3,1", "b,4,4,2", "c,1,2,5", columns=REFUSED),
    "wide, numbered": csv("userId,1,2,3", "7,5,3,1", "9,4,4,2", "11,1,2,5", columns=REFUSED),
    "item, user without names": csv(None, "i1,u1,3", "i2,u1,4", "i1,u2,5", columns=(2, 1, 3, 0)),
    "a name of whom": csv("name,product_id,stars", "ann,7,3", "bob,8,4", "ann,9,5", columns=REFUSED),
    "item counts": csv("user_id,item_id,rating_count,avg_rating", "1,5,10,3.5", "2,6,12,4", "1,7,3,2", columns=REFUSED),
    "tags": csv(
        "userId,movieId,tag,timestamp",
        "1,5,fun,978300760",
        "2,6,dark,978300761",
        "1,7,slow,978300762",
        columns=(1, 2, 0, 4),
    ),
    "links": csv("movieId,imdbId,tmdbId", "1,0114709,862", "2,0113497,8844", "7,0113228,15602", columns=REFUSED),
    "movies": csv(
        "movieId,title,genres", "1,Toy Story (1995),Kids", "2,Heat (1995),War", "7,Ran (1985),War", columns=REFUSED
    ),
    "another language": csv("Benutzer;Artikel;Note", "1;5;1", "2;6;3", "1;7;5", columns=REFUSED),
    "rating first": csv(None, "3,u1,i1", "4,u2,i1", "5,u1,i2", columns=REFUSED),
    "rating second": csv(None, "u1,3,i1", "u2,4,i1", "u1,5,i2", columns=REFUSED),
    "time first": csv(None, "978300760,7,31,2.5", "978300769,7,19,3", "978300779,9,31,3", columns=REFUSED),
    "two ratings": csv("user_id,item_id,rating,overall", "5,242,3,4", "5,302,3,1", "9,377,1,2", columns=REFUSED),
    "user, item, price": csv("user_id,item_id,price", "5,242,3.5", "5,302,3", "9,377,1", columns=(1, 2, 0, 0)),
    "user, item, flag": csv("user_id,item_id,recommended", "5,242,True", "5,302,False", "9,377,True", columns=REFUSED),
    "decimal commas": csv("user_id;item_id;Note", "5;242;3,5", "5;302;3", "9;377;1,5", columns=REFUSED),
    "decimal commas without names": csv(None, "5;242;3,5", "5;302;3,0", "9;377;1,5", columns=REFUSED),
    "fractions": csv("user_id,item_id,mark", "5,242,4/5", "5,302,3.5/5", "9,377,1/5", columns=REFUSED),
    "percents": csv("user_id,item_id,mark", "5,242,80%", "5,302,100 %", "9,377,20%", columns=REFUSED),
    "stars": csv(
        "user_id,item_id,mark", "5,242,\u2605\u2605\u2605", "5,302,\u2605\u2606", "9,377,\u2605", columns=REFUSED
    ),
    "half stars": csv(
        "user_id,item_id,mark", "5,242,\u2605\u2605\u00bd", "5,302,\u2605", "9,377,3\u00bd", columns=REFUSED
    ),
    "stars in words": csv(
        "user_id,item_id,mark", "5,242,4.0 out of 5 stars", "5,302,1 out of 5", "9,377,2 stars", columns=REFUSED
    ),
    "likes": csv("user_id,item_id,action", "5,242,like", "5,302,dislike", "9,377,like", columns=REFUSED),
    "Steam on Kaggle": csv(
        "user,game,recommendation", "5,Ran,Recommended", "5,Heat,Not Recommended", "9,Ran,Recommended", columns=REFUSED
    ),
    "dollars": csv("user_id,item_id,mark", "5,242,$3.00", "5,302,$4", '9,377,"$1,200.50"', columns=REFUSED),
    "euros": csv("user_id,item_id,mark", "5,242,3 EUR", "5,302,4.50 EUR", "9,377,1 EUR", columns=REFUSED),
    "pounds without names": csv(None, "u5,i242,\u00a33", "u5,i302,\u00a34", "u9,i377,\u00a31", columns=REFUSED),
    "euros of a price": csv("user_id,item_id,price", "5,242,3 EUR", "5,302,4 EUR", "9,377,1 EUR", columns=(1, 2, 0, 0)),
    "dollars spent": csv("user_id,item_id,order_value", "5,242,$3", "5,302,$4", "9,377,$1", columns=(1, 2, 0, 0)),
    "currencies": csv("user_id,item_id,currency", "5,242,USD", "5,302,EUR", "9,377,$", columns=(1, 2, 0, 0)),
    "grades with signs": csv("user_id,item_id,mark", "5,242,A+", "5,302,B", "9,377,C-", columns=REFUSED),
    "grades by name": csv("user_id,item_id,final_grade", "5,242,A", "5,302,B", "9,377,A", columns=REFUSED),
    "blood groups": csv("user_id,item_id,blood", "5,242,A+", "5,302,B-", "9,377,A-", columns=(1, 2, 0, 0)),
    "variants": csv("user_id,item_id,variant", "5,242,A", "5,302,B", "9,377,C", columns=(1, 2, 0, 0)),
    "energy labels": csv("user_id,item_id,energy_label", "5,242,A+", "5,302,B", "9,377,C", columns=(1, 2, 0, 0)),
    "countries": csv("user_id,item_id,country", "5,242,DE", "5,302,F", "9,377,GB", columns=(1, 2, 0, 0)),
    "months": csv("user_id,item_id,date", "5,242,12/2020", "5,302,11/2020", "9,377,01/2021", columns=(1, 2, 0, 0)),
    "verified purchases": csv(
        "user_id,item_id,verified_purchase", "5,242,true", "5,302,false", "9,377,true", columns=(1, 2, 0, 0)
    ),
    "words that are no ids": csv(
        "user_id,thing,ok,rating", "5,a,true,3", "5,b,false,4", "9,a,true,1", columns=(1, 2, 4, 0)
    ),
    "events as items": csv("user_id,event_id,rating", "a1,x,5", "a2,y,4", "a1,y,1", columns=(1, 2, 3, 0)),
    "ids of reviews": csv("review_id,business_id,stars", "a1,x,5", "a2,y,4", "a3,x,1", columns=REFUSED),
    "user, item, category": csv(
        None, "u1,i5,3,4,2,978300760", "u1,i6,7,5,0,978300761", "u2,i5,3,1,1,978300762", columns=REFUSED
    ),
}


def columns_of(text, folder):
    """Columns from 1, 0 for none; or the message of the refusal."""
    (folder / "ratings.csv").write_text(text)
    try:
        with open_source(str(folder / "ratings.csv")) as source, read_source(source, ReadOptions()) as (layout, _):
            return tuple(layout.columns.by_role().get(role, -1) + 1 for role in ROLES)
    except InputDataError as error:
        return str(error)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("u{0},i{1},{2},N", "could be column 3 (0 to 4); choose it, for example with --columns user=1,item=2,rating=3"),
        ("u{0},i{1},N", "column 3 could hold ratings, but 'N' is not a number"),
        ('{0},{1},"{2},5"', "column 3 could hold ratings, but '0,5' is not a number"),
    ],
)
def test_numbers_are_suggested_before_words(tmp_path, row, said):
    assert said in columns_of("".join(row.format(n, n % 7, n % 5) + "\n" for n in range(30)), tmp_path)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_public_layout_is_read_right_or_refused(tmp_path, monkeypatch, name):
    case = LAYOUTS[name]
    found = columns_of(case.text, tmp_path)
    if case.columns is REFUSED:
        assert isinstance(found, str), f"read as {found}"
        assert "--columns" in found
    else:
        assert found == case.columns


def test_a_frame_follows_the_same_names(monkeypatch):
    frame = pl.DataFrame(
        {"__index_level_0__": [0, 1, 2], "asin": list("xyx"), "reviewerID": list("aab"), "overall": [5, 4, 3]}
    )
    assert detect_frame(frame, ReadOptions()).columns.by_role() == {"item": 1, "user": 2, "rating": 3}
    unclear = pl.DataFrame({"index": [0, 1, 2], "who": list("aab"), "what": list("xyx"), "score": [5, 4, 3]})
    with pytest.raises(InputDataError, match="--columns user=who,item=what,rating=score"):
        detect_frame(unclear, ReadOptions())
