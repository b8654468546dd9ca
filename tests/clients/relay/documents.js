// What relay-compiler reads; nobody runs it. The connection is paged through by `node`.
import { graphql } from "relay-runtime";

graphql`
  query documentsSizeQuery($text: String!) {
    audience(where: { text: $text }) {
      id
      size
      ...documents_members
    }
  }
`;

graphql`
  fragment documents_members on Audience
  @refetchable(queryName: "documentsPageQuery")
  @argumentDefinitions(first: { type: "Int", defaultValue: 5 }, after: { type: "String" }) {
    members(first: $first, after: $after) @connection(key: "documents_members") {
      totalCount
      edges {
        node {
          userId
        }
      }
    }
  }
`;

graphql`
  mutation documentsUseMutation($user: String!, $tag: String!) {
    assignTags(input: [{ user: $user, tag: $tag }]) {
      changed
    }
  }
`;

graphql`
  subscription documentsVersionsSubscription {
    dataVersion
  }
`;

// Every other connection, so that the compiler judges it.
graphql`
  query documentsConnectionsQuery($id: ID!) {
    tags(first: 5) @connection(key: "documents_tags") {
      edges {
        node {
          key
          values(first: 5) @connection(key: "documents_values", filters: []) {
            edges {
              node {
                value
              }
            }
          }
        }
      }
    }
    savedAudiences(first: 5) @connection(key: "documents_savedAudiences") {
      edges {
        node {
          key
          snapshots(first: 5) @connection(key: "documents_snapshots") {
            edges {
              node {
                sha256
              }
            }
          }
        }
      }
    }
    jobs(first: 5) @connection(key: "documents_jobs") {
      edges {
        node {
          kind
        }
      }
    }
    node(id: $id) {
      ... on Profile {
        userId
      }
    }
  }
`;
