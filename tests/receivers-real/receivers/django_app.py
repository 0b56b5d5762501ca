import os
import sys

from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt, csrf_protect

from signature import status

settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    SECRET_KEY="of-no-use",
    MIDDLEWARE=["django.middleware.common.CommonMiddleware", "django.middleware.csrf.CsrfViewMiddleware"],
)


def hook(request):
    return HttpResponse(status=status(request.body, request.headers.get("X-TempClock-Signature")))


urlpatterns = [path("hook", csrf_exempt(hook)), path("protected", csrf_protect(hook)), path("slash/", csrf_exempt(hook))]
execute_from_command_line([sys.argv[0], "runserver", "--noreload", f"127.0.0.1:{os.environ['PORT']}"])
