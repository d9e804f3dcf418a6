# AnyPET with its server: docker build -t anypet .
# That takes the torch of pip's own index. Builds for a CPU alone, or for another CUDA, have an index of their own,
# which pytorch.org names: docker build -t anypet:cpu --build-arg TORCH_FROM="--index-url ADDRESS" .
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS build
WORKDIR /source
RUN pip install --no-cache-dir "hatchling>=1.25"
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN python -m hatchling build -t wheel -d /dist

FROM python:${PYTHON}-slim
# torch's wheels bring CUDA's libraries along; the host needs the driver and NVIDIA's container toolkit.
ARG TORCH_FROM=""
ARG TORCH=2.13.0
ARG EXTRAS=serve
COPY --from=build /dist /dist
RUN pip install --no-cache-dir ${TORCH_FROM} "torch==${TORCH}" \
 && pip install --no-cache-dir "$(ls /dist/*.whl)[${EXTRAS}]" \
 && rm -r /dist \
 && useradd --create-home --uid 1000 anypet \
 && install -d -o anypet -g anypet /var/lib/anypet /work
USER anypet
ENV ANYPET_HOME=/var/lib/anypet
VOLUME /var/lib/anypet
WORKDIR /work
EXPOSE 8000
HEALTHCHECK --interval=1m --timeout=10s --start-period=1m \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/healthz', timeout=5)"]
ENTRYPOINT ["anypet"]
CMD ["--help"]
