import os

import uvicorn
from fastapi import FastAPI, Request, Response

from signature import status

app = FastAPI()


@app.post("/hook")
async def hook(request: Request):
    return Response(status_code=status(await request.body(), request.headers.get("X-TempClock-Signature")))


uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), log_level="warning")
