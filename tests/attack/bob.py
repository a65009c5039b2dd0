"""Bob's job: works on its executor, waits until a file is gone, and works on it again."""
import json
import os
import sys
import time

from pyspark.sql import SparkSession

spark = SparkSession.builder.appName("bob").getOrCreate()
numbers = spark.sparkContext.parallelize(range(100), 4)
print("first", numbers.sum(), flush=True)
about = {"ui": spark.sparkContext.uiWebUrl, "port": int(spark.conf.get("spark.driver.port"))}
with open(sys.argv[1] + ".new", "w") as file:
    json.dump(about, file)
os.rename(sys.argv[1] + ".new", sys.argv[1] + ".about")
deadline = time.time() + 500
while os.path.exists(sys.argv[1]) and time.time() < deadline:
    time.sleep(0.1)
print("last", numbers.sum(), flush=True)
spark.stop()
