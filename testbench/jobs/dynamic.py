"""Lets Spark ask for executors as tasks come, and give them back when there are none.

Prints "dynamic: up U, down D, again A": executors at work at first, after a
pause, and at the end. Exits with 1 when they did not come, go and come again.
"""
import sys
import time

from pyspark import SparkConf, SparkContext

settings = {
    "spark.dynamicAllocation.enabled": "true",
    "spark.dynamicAllocation.shuffleTracking.enabled": "true",
    "spark.dynamicAllocation.minExecutors": "0",
    "spark.dynamicAllocation.initialExecutors": "0",
    "spark.dynamicAllocation.maxExecutors": "2",
    "spark.dynamicAllocation.schedulerBacklogTimeout": "1s",
    "spark.dynamicAllocation.executorIdleTimeout": "3s",
}
spark = SparkContext(conf=SparkConf().setAll(settings.items()))
infos = spark._jsc.sc().statusTracker().getExecutorInfos


def executors():
    """Count the executors; the list holds the driver too."""
    return len(infos()) - 1


def work():
    """Run eight tasks; return how many executors there were at the end."""
    numbers = spark.parallelize(range(8), 8).map(lambda n: time.sleep(0.5) or n).sum()
    return executors() if numbers == 28 else 0


up = work()
deadline = time.time() + 90
while executors() > 0 and time.time() < deadline:
    time.sleep(0.2)
down = executors()
again = work()
spark.stop()
print(f"dynamic: up {up}, down {down}, again {again}")
sys.exit(not (up > 0 and down == 0 and again > 0))
