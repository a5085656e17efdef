# Three images from one file: operator, runtime and runtime-gpu.
#
#   docker build --target runtime -t haldane/runtime:dev .
#
# A dependency layer changes only with its lock; a change of code rebuilds a wheel of a few
# kilobytes. Needs nothing but PyPI from the network and works with the classic builder, which
# builds every stage above its target: the large GPU one is therefore the last.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm


# --- tools: pip and the build backend, in no image -------------------------------------------
FROM ${PYTHON_IMAGE} AS tools
ENV PIP_NO_CACHE_DIR=1 PIP_NO_COMPILE=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
    PIP_REQUIRE_VIRTUALENV=0 PYTHONDONTWRITEBYTECODE=1
COPY locks/build.txt /locks/build.txt
# The programs' environment has no pip of its own: this one installs into it.
RUN python3 -m venv /opt/tools \
 && /opt/tools/bin/pip install -q --require-hashes -r /locks/build.txt \
 && python3 -m venv --without-pip /opt/venv
# botocore describes four hundred services in data files; of these the runtime speaks to S3, and to
# STS and SSO for credentials.
ENV TRIM="find /opt/venv/lib -depth -type d -regextype egrep \
      ( -path */site-packages/*/tests -o -path */site-packages/onnx/backend/test -o -regex .*/boto(core|3)/data/[^/]+ ! -regex .*/data/(s3|sts|sso|sso-oidc) ) \
      -exec rm -rf {} +"
# Byte code is made here once, by content rather than by time, since the image is read-only at run time.
ENV COMPILE="python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash"


# --- operator --------------------------------------------------------------------------------
FROM tools AS operator-dependencies
COPY locks/operator.txt /locks/operator.txt
RUN /opt/tools/bin/pip --python /opt/venv/bin/python install -q --require-hashes -r /locks/operator.txt \
 && set -f && $TRIM \
 && $COMPILE /opt/venv/lib

FROM operator-dependencies AS operator-project
WORKDIR /src
COPY pyproject.toml LICENSE README.md ./
COPY operator/haldane operator/haldane
RUN /opt/tools/bin/pip wheel -q --no-deps --no-build-isolation -w /wheel . \
 && /opt/tools/bin/pip --python /opt/venv/bin/python install -q --no-deps --no-index --root /stage /wheel/*.whl \
 && rm /stage/opt/venv/bin/haldane-runtime \
 && $COMPILE -s /stage /stage/opt/venv/lib

FROM ${PYTHON_IMAGE} AS operator
ENV PATH=/opt/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
COPY --from=operator-dependencies /opt/venv /opt/venv
COPY --from=operator-project /stage/opt/venv /opt/venv
USER 65532:65532
ENTRYPOINT ["haldane-operator"]


# --- runtime ---------------------------------------------------------------------------------
FROM tools AS runtime-dependencies
COPY locks/runtime.txt /locks/runtime.txt
RUN /opt/tools/bin/pip --python /opt/venv/bin/python install -q --require-hashes -r /locks/runtime.txt \
 && set -f && $TRIM \
 && $COMPILE /opt/venv/lib

FROM tools AS runtime-project
WORKDIR /src
COPY pyproject.toml LICENSE README.md ./
COPY runtime/haldane_runtime runtime/haldane_runtime
RUN /opt/tools/bin/pip wheel -q --no-deps --no-build-isolation -w /wheel . \
 && /opt/tools/bin/pip --python /opt/venv/bin/python install -q --no-deps --no-index --root /stage /wheel/*.whl \
 && rm /stage/opt/venv/bin/haldane-operator \
 && $COMPILE -s /stage /stage/opt/venv/lib

FROM ${PYTHON_IMAGE} AS runtime
ENV PATH=/opt/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 ORT_DISABLE_TELEMETRY=1
# Writable also without a volume, for a plain `docker run`.
RUN mkdir -p /var/cache/haldane && chown 65532:65532 /var/cache/haldane
COPY --from=runtime-dependencies /opt/venv /opt/venv
COPY --from=runtime-project /stage/opt/venv /opt/venv
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["haldane-runtime"]
CMD ["serve"]


# --- runtime-gpu: ONNX Runtime for CUDA, with the CUDA and cuDNN libraries from their wheels ----
FROM tools AS runtime-gpu-dependencies
COPY locks/runtime-gpu.txt /locks/runtime-gpu.txt
RUN /opt/tools/bin/pip --python /opt/venv/bin/python install -q --require-hashes -r /locks/runtime-gpu.txt \
 && set -f && $TRIM \
 && $COMPILE /opt/venv/lib

FROM ${PYTHON_IMAGE} AS runtime-gpu
# What the NVIDIA container toolkit mounts the driver by.
ENV PATH=/opt/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 ORT_DISABLE_TELEMETRY=1 \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility HALDANE_DEVICE=gpu
RUN mkdir -p /var/cache/haldane && chown 65532:65532 /var/cache/haldane
COPY --from=runtime-gpu-dependencies /opt/venv /opt/venv
COPY --from=runtime-project /stage/opt/venv /opt/venv
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["haldane-runtime"]
CMD ["serve"]
