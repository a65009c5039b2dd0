"""Bob's job: works on its executor, waits until a file is gone, and works on it again."""
import os
import sys
import time

from pyspark.sql import SparkSession

spark = SparkSession.builder.appName("bob").getOrCreate()
numbers = spark.sparkContext.parallelize(range(100), 4)
print("first", numbers.sum(), flush=True)
with open(sys.argv[1] + ".ui", "w") as file:
    file.write(spark.sparkContext.uiWebUrl or "none")
deadline = time.time() + 500
while os.path.exists(sys.argv[1]) and time.time() < deadline:
    time.sleep(0.1)
print("last", numbers.sum(), flush=True)
spark.stop()
