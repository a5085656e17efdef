{{/* How Prometheus lets the operator, and `helm test`, in: environment, volumes and where they are mounted. */}}
{{/* `helm upgrade --reuse-values` brings the values of an older chart, without what is new in this one. */}}
{{- define "haldane.prometheus" -}}
{{- $new := dict "bearerToken" (dict "key" "token") "basicAuth" dict "ca" (dict "key" "ca.crt") "headers" dict -}}
{{- mergeOverwrite $new .Values.prometheus | toJson -}}
{{- end -}}

{{- define "haldane.prometheusFolder" -}}/etc/haldane/prometheus{{- end -}}

{{- define "haldane.prometheusEnv" -}}
{{- $folder := include "haldane.prometheusFolder" . -}}
{{- with include "haldane.prometheus" . | fromJson -}}
- name: HALDANE_PROMETHEUS_URL
  value: {{ .url | quote }}
{{- if .bearerToken.secretName }}
- name: HALDANE_PROMETHEUS_TOKEN_FILE
  value: {{ printf "%s/token/%s" $folder .bearerToken.key | quote }}
{{- else if .bearerToken.file }}
- name: HALDANE_PROMETHEUS_TOKEN_FILE
  value: {{ .bearerToken.file | quote }}
{{- end }}
{{- if .basicAuth.secretName }}
- name: HALDANE_PROMETHEUS_USERNAME_FILE
  value: {{ $folder }}/basic-auth/username
- name: HALDANE_PROMETHEUS_PASSWORD_FILE
  value: {{ $folder }}/basic-auth/password
{{- end }}
{{- if or .ca.secretName .ca.configMapName }}
- name: HALDANE_PROMETHEUS_CA_FILE
  value: {{ printf "%s/ca/%s" $folder .ca.key | quote }}
{{- end }}
{{- if .headers }}
- name: HALDANE_PROMETHEUS_HEADERS
  value: {{ .headers | toJson | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "haldane.prometheusMounts" -}}
{{- $folder := include "haldane.prometheusFolder" . -}}
{{- with include "haldane.prometheus" . | fromJson -}}
{{- if .bearerToken.secretName }}
- name: prometheus-token
  mountPath: {{ $folder }}/token
  readOnly: true
{{- end }}
{{- if .basicAuth.secretName }}
- name: prometheus-basic-auth
  mountPath: {{ $folder }}/basic-auth
  readOnly: true
{{- end }}
{{- if or .ca.secretName .ca.configMapName }}
- name: prometheus-ca
  mountPath: {{ $folder }}/ca
  readOnly: true
{{- end }}
{{- end }}
{{- end -}}

{{- define "haldane.prometheusVolumes" -}}
{{- with include "haldane.prometheus" . | fromJson -}}
{{- if .bearerToken.secretName }}
- name: prometheus-token
  secret:
    secretName: {{ .bearerToken.secretName }}
    items:
      - key: {{ .bearerToken.key }}
        path: {{ .bearerToken.key }}
{{- end }}
{{- if .basicAuth.secretName }}
- name: prometheus-basic-auth
  secret:
    secretName: {{ .basicAuth.secretName }}
    items:
      - key: username
        path: username
      - key: password
        path: password
{{- end }}
{{- if .ca.secretName }}
- name: prometheus-ca
  secret:
    secretName: {{ .ca.secretName }}
    items:
      - key: {{ .ca.key }}
        path: {{ .ca.key }}
{{- else if .ca.configMapName }}
- name: prometheus-ca
  configMap:
    name: {{ .ca.configMapName }}
    items:
      - key: {{ .ca.key }}
        path: {{ .ca.key }}
{{- end }}
{{- end }}
{{- end -}}
