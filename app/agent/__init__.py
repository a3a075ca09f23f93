"""The agent that runs on a configuration server or process server and reports to the control plane.

It stands outside the control plane: the standard library, httpx and, where it is installed, psutil.
It imports nothing else of this product, so it can be shipped alone and runs on Python 3.10 and later.
"""
