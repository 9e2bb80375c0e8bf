import os
import time


def pause(seconds: float) -> None:
    time.sleep(float(os.environ.get("SYNTHETIC_PAUSE") or seconds))
