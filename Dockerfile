# The service as an image: Python, the pinned packages, this checkout; the data is a volume.
FROM python:3.11-slim AS packages
COPY requirements/run.txt /requirements/run.txt
RUN python -m venv /venv \
    && /venv/bin/python -m pip install --no-cache-dir --disable-pip-version-check --require-hashes --no-deps \
       --only-binary :all: -r /requirements/run.txt

FROM python:3.11-slim
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin tagroar \
    && mkdir /data \
    && chown 10001:10001 /data
COPY --from=packages /venv /venv
WORKDIR /tagroar
COPY LICENSE README.md server.py ./
COPY bitmap_store ./bitmap_store
COPY console ./console
COPY demo ./demo
COPY migrations ./migrations
COPY resolvers ./resolvers
COPY schema ./schema
COPY web ./web
# Compiled here, as the running container writes nothing but its volume and /tmp.
RUN /venv/bin/python -m compileall -q .
ENV PATH=/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TAGROAR_DATA=/data \
    TAGROAR_HOST=0.0.0.0 \
    TAGROAR_PORT=8000
USER 10001:10001
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['TAGROAR_PORT'] + '/readyz', timeout=4)"]
ENTRYPOINT ["python", "server.py"]
CMD ["serve"]
