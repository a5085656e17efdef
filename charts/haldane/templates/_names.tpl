{{- define "haldane.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "haldane.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains (include "haldane.name" .) .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "haldane.name" .) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "haldane.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "haldane.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "haldane.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "haldane.runtimeImage" -}}
{{- default (printf "haldane/runtime:%s" .Chart.AppVersion) .Values.runtime.image -}}
{{- end -}}

{{- define "haldane.runtimeGpuImage" -}}
{{- default (printf "haldane/runtime-gpu:%s" .Chart.AppVersion) .Values.runtime.gpuImage -}}
{{- end -}}

{{- define "haldane.selectorLabels" -}}
app.kubernetes.io/name: {{ include "haldane.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{/* Labels of every object of the release; a component of its own keeps a pod out of the operator's selector. */}}
{{- define "haldane.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/name: {{ include "haldane.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: haldane
{{- end -}}

{{/* The "restricted" Pod Security Standard, for a pod and for its containers. */}}
{{- define "haldane.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "haldane.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* on or off. A release that was installed before there was such a value has it on. */}}
{{- define "haldane.gates" -}}
{{- if eq (toString (.Values.gates).enabled) "false" }}off{{ else }}on{{ end -}}
{{- end -}}
