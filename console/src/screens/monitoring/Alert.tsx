import { useQuery } from "@tanstack/react-query";
import { useParams } from "@tanstack/react-router";
import { answer, api } from "../../api/client";
import { CALM } from "../../api/live";
import { ActButton } from "../../parts/ask";
import { Facts, Json } from "../../parts/facts";
import { Link, useTeam } from "../../parts/link";
import { Page, Panel } from "../../parts/page";
import { Loaded } from "../../parts/states";
import { Status } from "../../parts/status";
import { When } from "../../parts/when";

/** One alert: what was seen, what was done about it, and by whom. */
export function Alert() {
  const team = useTeam();
  const { alert: id = "" } = useParams({ strict: false });
  const path = { params: { path: { alert_id: id } } };
  const query = useQuery({
    queryKey: [team, "alerts", id],
    queryFn: () => answer(api.GET("/api/v1/alerts/{alert_id}", path)),
    refetchInterval: CALM,
  });
  return (
    <Loaded query={query}>
      {(alert) => (
        <Page
          title={alert.title}
          trail={[
            <Link key="monitoring" to="/$team/monitoring" params={{ team }}>
              Monitoring
            </Link>,
          ]}
          about={<Status of={alert.status} />}
          actions={
            alert.status !== "resolved" && (
              <>
                {alert.status === "open" && (
                  <ActButton
                    needs="deploy_staging"
                    reason="optional"
                    longest={200}
                    done="Acknowledged"
                    act={(note) =>
                      answer(
                        api.POST("/api/v1/alerts/{alert_id}/acknowledge", {
                          ...path,
                          body: { note: note || null },
                        }),
                      )
                    }
                  >
                    Acknowledge
                  </ActButton>
                )}
                <ActButton
                  needs="deploy_staging"
                  reason="optional"
                  longest={200}
                  done="Resolved"
                  act={(note) =>
                    answer(
                      api.POST("/api/v1/alerts/{alert_id}/resolve", {
                        ...path,
                        body: { note: note || null },
                      }),
                    )
                  }
                >
                  Resolve
                </ActButton>
              </>
            )
          }
        >
          <Panel title="What was seen">
            <Facts
              of={[
                ["Severity", <Status key="severity" of={alert.severity} />],
                ["Detail", alert.detail],
                ["About", about(team, alert.resource_kind, alert.resource_id)],
                ["First", <When key="first" at={alert.created_at} />],
                ["Last", <When key="last" at={alert.last_seen_at} />],
                ["Times", alert.occurrences],
                ["Notification", alert.notification],
              ]}
            />
          </Panel>
          <Panel title="What was done">
            <Facts
              of={[
                ["Acknowledged", alert.acknowledged_by],
                ["At", <When key="acknowledged" at={alert.acknowledged_at} />],
                ["Resolved", alert.resolved_by],
                ["At ", <When key="resolved" at={alert.resolved_at} />],
                ["Note", alert.note],
              ]}
            />
          </Panel>
          <Panel title="Context">
            <Json of={alert.context} label="The context of the alert" />
          </Panel>
        </Page>
      )}
    </Loaded>
  );
}

function about(team: string, kind: string, id: string): React.ReactNode {
  if (kind !== "deployment") return `${kind} ${id}`;
  return (
    <Link to="/$team/deployments/$deployment" params={{ team, deployment: id }}>
      {kind} {id}
    </Link>
  );
}
