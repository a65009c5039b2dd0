module sparksubmitas/testbench/services

go 1.26
