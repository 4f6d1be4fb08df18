"""SIP: natkit's proxy beside Kamailio and sippy, under the same load of sipp."""
