"""From masks to numbers: measures of objects, reference regions, response, matching, radiomics, networks."""
