-- Health of a ModelDeployment for Argo CD. It reads Ready, Reconciling, Stalled and Suspended and nothing else, so that a condition that comes
-- later cannot turn an application red. Wording of the messages is the operator's own.
local function verdict(status, message)
  return { status = status, message = message }
end

if obj.metadata.deletionTimestamp ~= nil then
  return verdict("Progressing", "The ModelDeployment is being deleted.")
end

local conditions = {}
if obj.status ~= nil and obj.status.conditions ~= nil then
  for _, condition in ipairs(obj.status.conditions) do
    conditions[condition.type] = condition
  end
end

local function holds(kind)
  return conditions[kind] ~= nil and conditions[kind].status == "True"
end

if conditions.Ready == nil then
  return verdict("Progressing", "Waiting for the Haldane operator to take up the ModelDeployment.")
end
if obj.status.observedGeneration ~= nil and obj.metadata.generation ~= nil
  and obj.status.observedGeneration < obj.metadata.generation then
  return verdict("Progressing", "Waiting for the Haldane operator to take up the last change.")
end
if holds("Stalled") then
  return verdict("Degraded", conditions.Stalled.message)
end
-- A rollout that goes back does so while it is paused, too: then Reconciling has a reason of its own.
if holds("Suspended") and (not holds("Reconciling") or conditions.Reconciling.reason == conditions.Suspended.reason) then
  return verdict("Suspended", conditions.Suspended.message)
end
if holds("Reconciling") then
  return verdict("Progressing", conditions.Reconciling.message)
end
if holds("Ready") then
  return verdict("Healthy", conditions.Ready.message)
end
if conditions.Ready.status == "False" then
  return verdict("Degraded", conditions.Ready.message)
end
return verdict("Progressing", conditions.Ready.message)
