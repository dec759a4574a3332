"""The commands of `mlops`: what they are called, where they are, and their line in its help."""

from ml_platform.cli.lazy import Entry

_CLI = "ml_platform.cli"

COMMANDS = {
    "up": Entry(f"{_CLI}.local", "up", "Start the platform in the background"),
    "down": Entry(f"{_CLI}.local", "down", "Stop the platform; its data stay"),
    "status": Entry(f"{_CLI}.local", "status", "Say what runs and whether it answers"),
    "doctor": Entry(f"{_CLI}.local", "doctor", "Look for what usually goes wrong"),
    "logs": Entry(f"{_CLI}.local", "logs", "Show the log of one of the platform's processes"),
    "reset": Entry(f"{_CLI}.local", "reset", "Stop the platform and delete everything that it has stored"),
    "demo": Entry(
        f"{_CLI}.demo.command",
        "demo",
        "Start the platform and take the churn model from real data to governed, monitored production",
    ),
    "services": Entry(f"{_CLI}.services", "services", "Describe the services that run, as YAML"),
    "login": Entry(f"{_CLI}.identity", "login", "Keep a key in the profile, or open a browser session"),
    "whoami": Entry(f"{_CLI}.identity", "whoami", "Say whose key this is, and what it may do"),
    "datasets": Entry(f"{_CLI}.datasets", "datasets", "Versioned, validated tables"),
    "features": Entry(f"{_CLI}.features", "features", "Feature views and training sets"),
    "experiments": Entry(f"{_CLI}.experiments", "experiments", "Experiments and their runs"),
    "jobs": Entry(f"{_CLI}.jobs", "jobs", "Training jobs"),
    "models": Entry(f"{_CLI}.models", "models", "Registered models, their versions and their risk"),
    "deploy": Entry(f"{_CLI}.deployments", "deploy", "Deploy a model through the nine stages"),
    "deployments": Entry(f"{_CLI}.deployments", "deployments", "Endpoints, their rollouts and their traffic"),
    "diff": Entry(f"{_CLI}.declared", "diff", "Compare a file of deployments with what is live"),
    "plan": Entry(f"{_CLI}.declared", "plan", "Say what applying a file of deployments would meet"),
    "apply": Entry(f"{_CLI}.declared", "apply", "Deploy what is not as a file of deployments says"),
    "inference": Entry(f"{_CLI}.inference", "app", "The inference server on its own"),
    "approvals": Entry(f"{_CLI}.approvals", "approvals", "Deployments that people must decide on"),
    "policies": Entry(f"{_CLI}.policies", "policies", "The organisation's own policies, as Cedar text"),
    "drift": Entry(f"{_CLI}.drift", "drift", "Drift of deployments, and what it starts"),
    "alerts": Entry(f"{_CLI}.alerts", "alerts", "What a person should know"),
    "audit": Entry(f"{_CLI}.audit", "audit", "The audit log"),
    "lineage": Entry(
        f"{_CLI}.lineage", "lineage", "Show what something was made of, and what was made of it"
    ),
    "teams": Entry(f"{_CLI}.identity", "teams", "Teams and their members"),
    "users": Entry(f"{_CLI}.identity", "users", "People and service accounts"),
    "keys": Entry(f"{_CLI}.identity", "keys", "API keys"),
}
