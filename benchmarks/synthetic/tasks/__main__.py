import sys

from steerwright.dag.door import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
