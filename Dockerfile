# The service, its workers and the command line in one image. CPU only; see README for GPUs.
FROM python:3.12-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE NOTICE constraints.txt ./
COPY src ./src
RUN python -m venv /opt/revisage \
    && /opt/revisage/bin/pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu \
        -c constraints.txt ".[service,postgres,remote,torch]"

FROM python:3.12-slim-bookworm
LABEL org.opencontainers.image.title="revisage" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --create-home --uid 10001 revisage \
    && install -d -o revisage -g revisage -m 0700 /data /cache
COPY --from=build /opt/revisage /opt/revisage
ENV PATH=/opt/revisage/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    REVISAGE_CACHE=/cache \
    REVISAGE_SERVICE_DATA_DIR=/data
USER 10001
VOLUME ["/data", "/cache"]
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
# 0.0.0.0 is refused without a token: docker run … revisage token add NAME
CMD ["revisage", "serve", "--host", "0.0.0.0", "--port", "8000", "--workers", "1"]
