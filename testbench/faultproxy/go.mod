module spark-submit-as/testbench/faultproxy

go 1.26
