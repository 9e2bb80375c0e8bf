import sys

from steerwright.dag.run_stage import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
