"""Moves data between executors: every map task writes for every reduce task.

Prints "shuffle: N keys, sum S, executors E" and exits with 1 if a number is
wrong. Argument: how many executors must take part (default 2).
"""
import os
import sys
import time

from pyspark import SparkConf, SparkContext

NUMBERS = 100_000
KEYS = 100
wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 2


def sums(partition):
    """Yield (executor, sum of a group); SPARK_EXECUTOR_ID is set in its pod."""
    time.sleep(0.2)  # else one executor may take all tasks before the other is asked
    for _, group in partition:
        yield os.environ["SPARK_EXECUTOR_ID"], sum(group)


# Tasks go to whoever is free: by default they would follow the data, and all of it may be on the first executor.
settings = {"spark.locality.wait": "0s", "spark.shuffle.reduceLocality.enabled": "false"}
spark = SparkContext(conf=SparkConf().setAll(settings.items()))
infos = spark._jsc.sc().statusTracker().getExecutorInfos
for _ in range(600):
    if len(infos()) > wanted:  # the list holds the driver too
        break
    time.sleep(0.2)

pairs = spark.parallelize(range(NUMBERS), 8).repartition(8).map(lambda n: (n % KEYS, n))
parts = pairs.groupByKey(8).mapPartitions(sums).collect()
spark.stop()

executors = len({executor for executor, _ in parts})
total = sum(part for _, part in parts)
print(f"shuffle: {len(parts)} keys, sum {total}, executors {executors}")
if (len(parts), total) != (KEYS, NUMBERS * (NUMBERS - 1) // 2) or executors < wanted:
    sys.exit(1)
