import os

from flask import Flask, request

from signature import status

app = Flask(__name__)


@app.post("/hook")
def hook():
    return "", status(request.get_data(), request.headers.get("X-TempClock-Signature"))


app.run("127.0.0.1", int(os.environ["PORT"]))
