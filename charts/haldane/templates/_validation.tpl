{{/* What the schema cannot say in a sentence. Each failure names the value and what to write instead. */}}
{{- define "haldane.validate" -}}
{{- range $name, $value := dict "nameOverride" .Values.nameOverride "fullnameOverride" .Values.fullnameOverride -}}
  {{- if and $value (not (regexMatch "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" $value)) -}}
    {{- fail (printf "%s is %q: write lower-case letters, digits and dashes, with a letter or a digit at both ends" $name $value) -}}
  {{- end -}}
{{- end -}}
{{- with .Values.serviceAccount.name -}}
  {{- if not (regexMatch "^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$" .) -}}
    {{- fail (printf "serviceAccount.name is %q: write lower-case letters, digits, dashes and dots, with a letter or a digit at both ends of each part" .) -}}
  {{- end -}}
{{- end -}}
{{- with .Values.prometheus.url -}}
  {{- if not (regexMatch "^https?://[^/\\s?#]+(/[^\\s?#]*)?$" .) -}}
    {{- fail (printf "prometheus.url is %q: write the base URL of Prometheus, for example http://prometheus.monitoring.svc:9090" .) -}}
  {{- end -}}
{{- end -}}
{{- with include "haldane.prometheus" . | fromJson -}}
  {{- if and (or .bearerToken.secretName .bearerToken.file) .basicAuth.secretName -}}
    {{- fail "prometheus.bearerToken and prometheus.basicAuth are both set: leave one of them out" -}}
  {{- end -}}
  {{- if and .bearerToken.secretName .bearerToken.file -}}
    {{- fail "prometheus.bearerToken has a secretName and a file: leave one of them out" -}}
  {{- end -}}
  {{- if and .bearerToken.file (not (hasPrefix "/" .bearerToken.file)) -}}
    {{- fail (printf "prometheus.bearerToken.file is %q: write the absolute path of a file in the operator's pod" .bearerToken.file) -}}
  {{- end -}}
  {{- if and .ca.secretName .ca.configMapName -}}
    {{- fail "prometheus.ca has a secretName and a configMapName: leave one of them out" -}}
  {{- end -}}
  {{- range $name, $value := .headers -}}
    {{- if or (eq (lower $name) "authorization") (not (regexMatch "^[A-Za-z0-9][-A-Za-z0-9_]*$" $name)) (regexMatch "[[:cntrl:]]" $value) -}}
      {{- fail (printf "prometheus.headers sets %q: write the name of a header other than Authorization, which bearerToken and basicAuth set, and one line of text" $name) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- with .Values.image.digest -}}
  {{- if not (regexMatch "^sha256:[0-9a-f]{64}$" .) -}}
    {{- fail (printf "image.digest is %q: write sha256: and 64 hexadecimal digits, or leave it empty and set image.tag" .) -}}
  {{- end -}}
{{- end -}}
{{- range .Values.watchNamespaces -}}
  {{- if not (regexMatch "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$" .) -}}
    {{- fail (printf "watchNamespaces has %q, which is no namespace name: write exact names; patterns are not supported" .) -}}
  {{- end -}}
{{- end -}}
{{- if ne (len .Values.watchNamespaces) (len (uniq .Values.watchNamespaces)) -}}
  {{- fail "watchNamespaces names a namespace twice: write each one once" -}}
{{- end -}}
{{- if and (not .Values.serviceAccount.create) (not .Values.serviceAccount.name) -}}
  {{- fail "serviceAccount.create is false and serviceAccount.name is empty: name the ServiceAccount that the operator should use" -}}
{{- end -}}
{{- if not (regexMatch "^[1-9][0-9]*(ms|s|m|h)$" .Values.podMonitor.interval) -}}
  {{- fail (printf "podMonitor.interval is %q: write a number and its unit, for example 15s" .Values.podMonitor.interval) -}}
{{- end -}}
{{- $owned := dict "HALDANE_RUNTIME_IMAGE" "runtime.image" "HALDANE_RUNTIME_GPU_IMAGE" "runtime.gpuImage" "HALDANE_PROMETHEUS_URL" "prometheus.url" "HALDANE_PROMETHEUS_TOKEN_FILE" "prometheus.bearerToken" "HALDANE_PROMETHEUS_USERNAME_FILE" "prometheus.basicAuth" "HALDANE_PROMETHEUS_PASSWORD_FILE" "prometheus.basicAuth" "HALDANE_PROMETHEUS_CA_FILE" "prometheus.ca" "HALDANE_PROMETHEUS_HEADERS" "prometheus.headers" "HALDANE_LOG_LEVEL" "logLevel" "HALDANE_GATES" "gates.enabled" "HALDANE_WORKERS" "workers" "HALDANE_WATCH_NAMESPACES" "watchNamespaces" -}}
{{- range .Values.extraEnv -}}
  {{- if hasKey $owned .name -}}
    {{- fail (printf "extraEnv sets %s, which belongs to the value %s: set that instead" .name (get $owned .name)) -}}
  {{- end -}}
  {{- if eq .name "HALDANE_HEALTH_PORT" -}}
    {{- fail "extraEnv sets HALDANE_HEALTH_PORT, where the probes of the chart look at 8090: leave it out" -}}
  {{- end -}}
{{- end -}}
{{- $labels := dict "podLabels" .Values.podLabels "podMonitor.labels" .Values.podMonitor.labels -}}
{{- $taken := dict "podLabels" "^app[.]kubernetes[.]io/" "podMonitor.labels" "^(app[.]kubernetes[.]io|helm[.]sh)/" -}}
{{- range $name, $set := $labels -}}
  {{- range $key, $value := $set -}}
    {{- if regexMatch (get $taken $name) $key -}}
      {{- fail (printf "%s sets %s, which the chart sets: choose another label" $name $key) -}}
    {{- end -}}
    {{- if not (regexMatch "^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$" $value) -}}
      {{- fail (printf "%s sets %s to %q: write at most 63 letters, digits, dashes, underscores and dots, with a letter or a digit at both ends" $name $key $value) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- end -}}
